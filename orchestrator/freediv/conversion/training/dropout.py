"""Dropout."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import jax
import jax.numpy as jnp

Array = jax.Array


@dataclass(frozen=True)
class RandomDropout:
    """Dropout at the model's own places, the same for the same key (Srivastava et al. 2014).

    Random bytes decide, four to a random word: on a CPU the generator is what dropout costs. `hidden` and `attention`
    are the rates for activations and for attention weights, rounded to 1/256.
    """

    key: Array
    hidden: float = 0.1
    attention: float = 0.1

    def __call__(self, name: str, x: Array) -> Array:
        """`x` with some of its values 0 and the others scaled up; `name` picks the random stream."""
        dropped = round(256 * (self.attention if name.endswith("/weights") else self.hidden))
        if dropped == 0:
            return x
        random = jax.random.bits(jax.random.fold_in(self.key, zlib.crc32(name.encode())), x.shape, jnp.uint8)
        return jnp.where(random >= dropped, x * (256 / (256 - dropped)), 0.0)
