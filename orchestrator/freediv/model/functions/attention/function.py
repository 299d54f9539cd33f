"""What an attention function says of itself.

Every function has the form `g(scale * (q k^T) + shift)`, with `scale` and `shift` per head, made from constants that
are calibrated and trained. `g` alone is what a secure run pays for: folding moves `scale` into the query and key
weights, and `shift` stays as a secret constant per head.

s = q k^T / sqrt(d); m is the 0/1 mask of real word pieces; L their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin

Affine: TypeAlias = tuple[Array | float, Array | float | None]
"""scale [heads] and shift [heads] (None: no shift)."""


@dataclass(frozen=True)
class WeightBound:
    """What no scores up to a magnitude take an attention function beyond; both are called with that magnitude, after
    scale and shift, and the number of positions.

    Attributes:
        largest: the largest magnitude of any value on the way from scores to weights.
        row_sum: the most that the magnitudes of a row's weights add up to, as they meet the values: where the mask
            carries 1 / L, it makes a mean of the sum.
    """

    largest: Callable[[float, int], float]
    row_sum: Callable[[float, int], float]


@dataclass(frozen=True, kw_only=True)
class AttentionFunction:
    """One way to weigh values. What has no default has to be said.

    Attributes:
        name: in recipes and configurations.
        origin: where it comes from, and how parties compute it.
        reads: the mask that it needs. With `mask_over_length` it is called without one, which instead multiplies the
            value rows and carries 1 / L.
        weigh: g, of x [batch, heads, length, length] and the mask [batch, length], or what each place sees
            [batch, 1, length, length], or None where no place is padding, to weights of x's shape.
        affine: scale and shift of the scores, of constants [heads] and the heads' width.
        shifts: whether there is a shift.
        bound: what no text can exceed; None: nothing bounds it, and nothing is proven of a model that has it.
        sees_hidden: whether scores at positions that the mask hides change the other weights, as by a maximum that is
            too large for them.
        constants: by name; each is an array [heads].
        mean: of a row's sums, by which calibration sets `log_k`: geometric where weights differ by orders of magnitude.
    """

    name: str
    origin: Origin
    reads: Literal["mask", "mask_over_length", "nothing"]
    weigh: Callable[[Array, Array | None], Array]
    affine: Callable[[Mapping[str, Array], int], Affine]
    bound: WeightBound | None
    sees_hidden: bool
    shifts: bool = False
    constants: Mapping[str, Constant] = field(default_factory=dict)
    mean: Literal["arithmetic", "geometric"] = "arithmetic"


def plain(constants: Mapping[str, Array], head_size: int) -> Affine:
    """1 / sqrt(d), and no shift."""
    return head_size**-0.5, None


def grows(magnitude: Callable[[float], float]) -> WeightBound:
    """The bound of a g under `mask_over_length` that, also on the way, is at most `magnitude(|x|)`, which grows."""
    return WeightBound(lambda scores, positions: magnitude(scores), lambda scores, positions: magnitude(scores))


def _of_keys(mask: Array) -> Array:
    return mask[:, None, None, :] if mask.ndim == 2 else mask


def of_real(weights: Array, mask: Array | None) -> Array:
    """Weights [batch, heads, length, length] of real pieces, zero elsewhere; all are real where there is no mask."""
    return weights if mask is None else weights * _of_keys(mask)


def masked_scores(x: Array, mask: Array | None) -> Array:
    """Scores less their row's largest. Masked ones are lowered by 30 rather than by a huge number, which a fixed-point
    exponential would not survive; what is left of them is multiplied by the mask.
    """
    if mask is not None:
        x = x + (_of_keys(mask) - 1) * 30.0
    return x - jnp.max(x, axis=-1, keepdims=True)


RECIPROCAL = 2.0**18
"""The largest reciprocal of a row's sum: in fixed point that is at least 2^-18, or nothing with all its addends."""


def lowered(scores: float) -> float:
    """How far below zero `masked_scores` takes scores of a magnitude."""
    return 2 * scores + 30.0
