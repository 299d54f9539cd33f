"""Fewer tokens of an image, by the class token's attention: after attention and before the feed-forward block, those
patches stay that the class token attends to most, by the mean over heads (Sarkar et al. 2024, arXiv 2405.10951, and
Liang et al. 2022, arXiv 2202.07800, "EViT", without its fused token).

In plaintext alone: which patches stay depends on what an image shows, so that parties would have to compare attention
in secret, or see which. `functions.pooling` leaves fewer rows by what is public.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...later import Array, jax, jnp


@dataclass(frozen=True)
class Dropping:
    """So large a share of patches stays; `apart` rows before them, of no patch, always do."""

    keep: float
    apart: int

    def left(self, rows: int) -> int:
        """How many rows are left of so many."""
        return self.apart + math.ceil(self.keep * (rows - self.apart))

    def apply(self, hidden: Array, weights: Array) -> Array:
        """Rows [batch, rows left, width] of rows [batch, rows, width], by attention weights [batch, heads, rows, rows];
        in the order that they had.
        """
        attended = weights[:, :, 0, self.apart :].mean(axis=1)
        count = self.left(hidden.shape[1]) - self.apart
        _, patches = jax.lax.top_k(attended, count)
        stay = jnp.sort(patches, axis=1) + self.apart
        kept = jnp.take_along_axis(hidden, stay[..., None], axis=1)
        return jnp.concatenate([hidden[:, : self.apart], kept], axis=1)
