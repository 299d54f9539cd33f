"""2Quad: MPCFormer, Li et al., ICLR 2023, section 3.2; and its reciprocal by iteration, as SecFormer has it."""

from __future__ import annotations

from collections.abc import Mapping

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin
from .function import RECIPROCAL, Affine, AttentionFunction, WeightBound, of_real


def _quad(x: Array, mask: Array | None) -> Array:
    """(s + c)^2 over its row sum."""
    e = of_real(jnp.square(x), mask)
    return e / jnp.sum(e, axis=-1, keepdims=True)


def _quad_goldschmidt(x: Array, mask: Array | None) -> Array:
    """The same with the row sum's reciprocal by Goldschmidt's iteration: SecFormer, Luo et al. 2024, algorithm 3.

    The sum is deflated by 5000 and 13 steps are taken, as published; it must lie below twice that.
    """
    e = of_real(jnp.square(x), mask)
    q = jnp.sum(e, axis=-1, keepdims=True) / 5000.0
    reciprocal = jnp.full_like(q, 1 / 5000.0)
    for _ in range(13):
        step = 2.0 - q
        reciprocal, q = reciprocal * step, q * step
    return e * reciprocal


def _shifted(constants: Mapping[str, Array], head_size: int) -> Affine:
    return head_size**-0.5, constants["c"]


TWO_QUAD = AttentionFunction(
    name="2quad",
    origin=Origin("a square for the exponential; reciprocal by SPU", "MPCFormer, Li et al. 2023", retrained=True),
    reads="mask",
    weigh=_quad,
    affine=_shifted,
    shifts=True,
    sees_hidden=False,
    # A row's weights are none below zero, and one in all.
    bound=WeightBound(lambda scores, positions: max(positions * scores**2, RECIPROCAL), lambda scores, positions: 1.0),
    constants={"c": Constant(5.0, "c")},
)
TWO_QUAD_GOLDSCHMIDT = AttentionFunction(
    name="2quad-goldschmidt",
    origin=Origin(
        "a square for the exponential; Goldschmidt's iteration for the reciprocal",
        "SecFormer, Luo et al. 2024",
        retrained=True,
    ),
    reads="mask",
    weigh=_quad_goldschmidt,
    affine=_shifted,
    shifts=True,
    sees_hidden=False,
    bound=None,  # where the sum is beyond 10,000 the iteration diverges
    constants={"c": Constant(5.0, "c")},
)
