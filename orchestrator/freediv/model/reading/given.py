"""What is given to a model: a text, a pair of them, or an image."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from ..pieces.pairs import Text

Image: TypeAlias = Path | bytes
"""A PNG or JPEG: its file, or what is in it."""
Given: TypeAlias = Text | Image


def is_image(given: Given) -> bool:
    """Whether it is one; else it is a text, or two."""
    return isinstance(given, Path | bytes)


def is_pair(given: Given) -> bool:
    """Whether it is two texts."""
    return isinstance(given, tuple)


def as_entry(given: Given) -> dict[str, object]:
    """For `--json`."""
    if isinstance(given, Path | bytes):
        return {"image": on_one_line(given)}
    return {"text": given if isinstance(given, str) else list(given)}


def on_one_line(given: Given) -> str:
    """For people."""
    if isinstance(given, bytes):
        return f"an image of {len(given):,} bytes"
    return " | ".join(given) if isinstance(given, tuple) else str(given)


def misfit(given: Given, *, images: bool) -> tuple[str, str] | None:
    """Why a model that reads images, or one that reads texts, is not given this, and what to do; None where it fits."""
    if is_image(given) == images:
        return None
    one, other, option = ("a text", "images", "--image") if images else ("an image", "texts", "--text")
    return f"is {one}, and the model reads {other}", f": give {option}"
