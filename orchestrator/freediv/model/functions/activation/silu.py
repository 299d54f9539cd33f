"""SiLU, or swish: x sigmoid(x). Elfwing, Uchibe and Doya 2018; by tanh, which no argument takes out of range."""

from __future__ import annotations

from ....later import jnp
from ..origin import Origin
from .function import ActivationFunction, Shrinking

SILU = ActivationFunction(
    name="silu",
    origin=Origin("tanh by SPU", "Elfwing et al. 2018", retrained=False),
    apply=lambda x: 0.5 * x * (1 + jnp.tanh(0.5 * x)),
    bound=Shrinking(),
)
