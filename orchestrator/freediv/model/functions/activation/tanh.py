"""Hyperbolic tangent: what most poolers have."""

from __future__ import annotations

from ....later import Array, jnp
from ..origin import Origin
from .function import ActivationFunction, Shrinking


def _tanh(x: Array) -> Array:
    return jnp.tanh(x)


TANH = ActivationFunction(
    name="tanh",
    origin=Origin("tanh by SPU", "as poolers have it", retrained=False),
    apply=_tanh,
    bound=Shrinking(most=1.0),
)
