"""What an activation function of the feed-forward block says of itself.

Each has the form `g(scale * x + shift) + offset`; folding moves all but `g` into the neighbouring weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np

from ....later import Array
from ..constant import Constant
from ..origin import Origin
from ..singular_values import spectral_norm

Affine: TypeAlias = tuple[Array | float, Array | float, Array | float]
"""scale, shift and offset: scalars."""


def identity(constants: Mapping[str, Array]) -> Affine:
    """1, 0 and 0."""
    return 1.0, 0.0, 0.0


class ActivationBound(Protocol):
    """What no row up to a length takes a block with this activation beyond."""

    def largest(self, into: float) -> float:
        """Of g and all on the way to it, where what goes in has at most this magnitude."""

    def length(self, into: float, width: int) -> float:
        """The length (Euclidean) of g of a row that is at most so long, and so wide."""

    def added(self, weight: np.ndarray, bias: np.ndarray, output: np.ndarray, length: float) -> float:
        """The length (Euclidean) of g(y weight + bias) output, for rows y of at most this length.

        `weight` [n, k], `bias` [k], `output` [k, n]: folded.
        """


@dataclass(frozen=True)
class Shrinking:
    """|g(x)| <= |x|, and at most `most`; on the way to it, what is at most `on_the_way(|x|)`, which grows with |x|."""

    on_the_way: Callable[[float], float] = lambda into: into
    most: float = math.inf

    def largest(self, into: float) -> float:
        return max(into, self.on_the_way(into))

    def length(self, into: float, width: int) -> float:
        return min(into, self.most * math.sqrt(width))

    def added(self, weight: np.ndarray, bias: np.ndarray, output: np.ndarray, length: float) -> float:
        into = length * spectral_norm(weight) + float(np.linalg.norm(bias))
        return self.length(into, len(bias)) * spectral_norm(output)


@dataclass(frozen=True, kw_only=True)
class ActivationFunction:
    """One activation. What has no default has to be said.

    Attributes:
        name: in recipes and configurations.
        origin: where it comes from, and how parties compute it.
        apply: g.
        bound: what no text can exceed; None: nothing bounds it, and nothing is proven of a model that has it.
        affine: scale, shift and offset, of constants.
        constants: by name; each is a scalar.
        fit: constants by least squares, of a gram matrix [3, 3] and a moment [3] of a teacher's activation on
            (x^2, x, 1); None where that has no solution of this form. Left out: nothing is fitted.
    """

    name: str
    origin: Origin
    apply: Callable[[Array], Array]
    bound: ActivationBound | None
    affine: Callable[[Mapping[str, Array]], Affine] = identity
    constants: Mapping[str, Constant] = field(default_factory=dict)
    fit: Callable[[np.ndarray, np.ndarray], dict[str, float] | None] | None = None

    @property
    def folds(self) -> bool:
        """Whether scale, shift and offset are other than 1, 0 and 0."""
        return self.affine is not identity
