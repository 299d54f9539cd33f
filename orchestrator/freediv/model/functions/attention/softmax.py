"""Softmax: Vaswani et al. 2017, equation 1."""

from __future__ import annotations

from collections.abc import Callable

from ....later import Array, jnp
from ..origin import Origin
from .function import RECIPROCAL, AttentionFunction, WeightBound, lowered, masked_scores, of_real, plain


def softmax_by(exponential: Callable[[Array], Array]) -> Callable[[Array, Array | None], Array]:
    """Softmax over real pieces, by what stands for exp(x), x at most zero."""

    def weigh(x: Array, mask: Array | None) -> Array:
        e = of_real(exponential(masked_scores(x, mask)), mask)
        return e / jnp.sum(e, axis=-1, keepdims=True)

    return weigh


def _exponential(x: Array) -> Array:
    return jnp.exp(x)


SOFTMAX = AttentionFunction(
    name="softmax",
    origin=Origin("exponential, maximum and reciprocal by SPU", "Vaswani et al. 2017", retrained=False),
    reads="mask",
    weigh=softmax_by(_exponential),
    affine=plain,
    sees_hidden=True,
    # No exponential is beyond 1. Where masked scores are far above all others, the sum may be next to nothing.
    bound=WeightBound(
        lambda scores, positions: max(positions, lowered(scores), RECIPROCAL), lambda scores, positions: 1.0
    ),
)
