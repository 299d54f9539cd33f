"""Positions as angles: Su et al. 2021 (RoPE), section 3.2, with pairs of a head's two halves, as GPT-NeoX has them.

Queries and keys are turned pair by pair, by an angle that grows with their place, so that a score depends on how far
apart two places are. Angles are public: a secure run multiplies by public numbers, and exchanges queries and keys once
more for their fraction bits. Turning makes nothing longer.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...later import jax, jnp


class Rotary(BaseModel):
    """How fast queries and keys turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    theta: float = Field(gt=1, le=1e12, description="base of the angles' wavelengths")
    window_theta: float | None = Field(default=None, gt=1, le=1e12, description="in layers that have a window")

    def base(self, windowed: bool) -> float:
        """Of a layer's wavelengths."""
        return self.window_theta if windowed and self.window_theta is not None else self.theta


def turned(x: jax.Array, base: float, apart: int = 1) -> jax.Array:
    """x [batch, length, ..., head_size], pair (i, i + head_size / 2) at place p turned by p base^(-2 i / head_size);
    rows are so many places `apart`.
    """
    length, half = x.shape[1], x.shape[-1] // 2
    angles = apart * np.arange(length)[:, None] * base ** (-np.arange(half) / half)
    shape = (length, *[1] * (x.ndim - 3), half)
    cosine, sine = (jnp.asarray(f(angles).reshape(shape), x.dtype) for f in (np.cos, np.sin))
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
