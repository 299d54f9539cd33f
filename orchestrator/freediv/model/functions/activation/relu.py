"""ReLU."""

from __future__ import annotations

from ....later import jnp
from .function import ActivationFunction, Shrinking

RELU = ActivationFunction(name="relu", apply=lambda x: jnp.maximum(x, 0.0), bound=Shrinking())
