"""Pairs of texts: one sequence, in which a separator ends the first."""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np

from ...later import jax

Text: TypeAlias = str | tuple[str, str]
"""What is classified: one text, or two for a model that reads pairs."""
Array = TypeVar("Array", np.ndarray, "jax.Array")


def has_half_character(text: Text) -> bool:
    """Whether a lone surrogate is in it, half a character of UTF-16, which no UTF-8 has and no tokenizer reads."""
    try:
        "".join((text,) if isinstance(text, str) else text).encode()
    except UnicodeEncodeError:
        return True
    return False


def second_text(token_ids: Array, separator: int) -> Array:
    """Whether each piece [..., length] comes after the first separator: these have BERT's second token type."""
    ends = token_ids == separator
    return ends.cumsum(-1) > ends
