"""LayerNorm: Ba et al. 2016, equation 4: (x - mean) / sqrt(variance + epsilon) * weight + bias."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ....later import Array, jax, jitted, jnp
from ..origin import Origin
from .function import Normalisation, Observe, centred, variance

LARGEST_VARIANCE = 2.0**16
"""Of a row whose root parties can take (`mpc.cutting.roots`)."""
_ROUNDING = 1.001
"""What the root is off by at most."""


@jitted
def standardise(x: Array, epsilon: Array | float) -> Array:
    """x / sqrt(mean(x^2) + epsilon) over the last axis. By its name a run on shares knows it, and has a root for it."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)


def _layernorm(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    return _standardised(centred(x), p, epsilon, observe) * p["weight"] + p["bias"]


def _standardised(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    variance(x, observe)
    return standardise(x, epsilon)


LAYERNORM = Normalisation(
    name="layernorm",
    origin=Origin("square root and reciprocal", "Ba et al. 2016", retrained=False),
    apply=_layernorm,
    folded=_standardised,
    centres=True,
    scales=True,
    root=True,
    bounds=True,
    length=lambda own, length, width: math.sqrt(width) * _ROUNDING,
)
