"""Softmax with PUMA's exponential: Dong et al. 2023, equation 2."""

from __future__ import annotations

from ....later import Array, jnp
from ..origin import Origin
from .function import RECIPROCAL, AttentionFunction, WeightBound, lowered, plain
from .softmax import softmax_by


def _exponential(x: Array) -> Array:
    """exp(x) is taken as 0 below -14, else as (1 + x / 2^5)^(2^5)."""
    power = 1 + x / 32
    for _ in range(5):
        power = jnp.square(power)
    return power * (x > -14)


def _largest(scores: float, positions: int) -> float:
    """The power is taken of every score, and only then left out where that is below -14."""
    return max(positions, lowered(scores), RECIPROCAL, max(1.0, lowered(scores) / 32 - 1) ** 32)


SOFTMAX_PUMA = AttentionFunction(
    name="softmax-puma",
    origin=Origin(
        "a power, piecewise, for the exponential; maximum and reciprocal by SPU",
        "PUMA, Dong et al. 2023",
        retrained=False,
    ),
    reads="mask",
    weigh=softmax_by(_exponential),
    affine=plain,
    sees_hidden=True,
    bound=WeightBound(_largest, lambda scores, positions: 1.0),
)
