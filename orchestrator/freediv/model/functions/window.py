"""Layers that see near places alone: Beltagy et al. 2020 (Longformer), section 3.1, and all others between, as
ModernBERT has them. Which places are near is public.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...later import jax, jnp

Mask = TypeVar("Mask", np.ndarray, "jax.Array")


class Window(BaseModel):
    """Which layers have a window, and how far they see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reach: int = Field(ge=0, le=1 << 14, description="places on either side that a piece sees, beside itself")
    every: int = Field(ge=1, le=128, description="every so many layers, from the first on, one sees all places")

    def on(self, layer: int) -> bool:
        """Whether a layer has it."""
        return layer % self.every != 0

    def near(self, length: int) -> np.ndarray:
        """Whether two places see each other [length, length], 0 or 1."""
        places = np.arange(length)
        return (np.abs(places[:, None] - places) <= self.reach).astype(np.float32)

    def seen(self, mask: jax.Array) -> jax.Array:
        """What each place sees [batch, 1, length, length], of real pieces [batch, length]; itself always, so that what
        is divided by a sum is not divided by nothing.
        """
        itself = np.eye(mask.shape[-1], dtype=np.float32)
        return mask[:, None, None, :] * jnp.asarray(self.near(mask.shape[-1]) - itself) + jnp.asarray(itself)

    def mean(self, mask: Mask) -> Mask:
        """Real pieces [batch, length] over their number, or over that of a whole window if they are more."""
        found: Mask = mask / mask.sum(-1, keepdims=True).clip(1, 2 * self.reach + 1)
        return found
