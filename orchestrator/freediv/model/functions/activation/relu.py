"""ReLU."""

from __future__ import annotations

from ....later import jnp
from ..origin import Origin
from .function import ActivationFunction, Shrinking

RELU = ActivationFunction(
    name="relu",
    origin=Origin("comparisons", "Nair and Hinton 2010", retrained=False),
    apply=lambda x: jnp.maximum(x, 0.0),
    bound=Shrinking(),
)
