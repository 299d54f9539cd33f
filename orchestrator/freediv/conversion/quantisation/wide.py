"""64-bit numbers in JAX, which has them only where it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax


@contextmanager
def wide_numbers() -> Iterator[None]:
    """While this lasts, in all threads (a training compiles in others): what is compiled meanwhile is kept apart."""
    config: Any = jax.config
    before = config.jax_enable_x64
    config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        config.update("jax_enable_x64", before)
