"""Options that name the columns of a data file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

text_columns = click.option(
    "--text-column", "text_columns", multiple=True, default=["sentence"], show_default=True,
    help="Column of the texts; twice for pairs.",
)  # fmt: skip


def columns(command: _Command) -> _Command:
    """Of texts, images and labels."""
    image = click.option(
        "--image-column", default="image", show_default=True, help="Column of files, where the model reads images."
    )
    label = click.option("--label-column", default="label", show_default=True, help="Column of the labels.")
    return text_columns(image(label(command)))
