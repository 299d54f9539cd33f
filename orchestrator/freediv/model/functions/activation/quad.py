"""Quad: MPCFormer, Li et al., ICLR 2023, section 3.1: 0.125 x^2 + 0.25 x + 0.5 at first; its numbers can be trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin
from ..singular_values import spectral_norm
from .function import ActivationFunction, Affine

_FLATTEST = 1e-3


def _affine(constants: Mapping[str, Array]) -> Affine:
    """a x^2 + b x + c = (sqrt(a) x + b / (2 sqrt(a)))^2 + c - b^2 / (4 a); a must be positive."""
    a, b, c = constants["a"], constants["b"], constants["c"]
    root = jnp.sqrt(a)
    return root, b / (2 * root), c - b * b / (4 * a)


class _Square:
    """Bounds of a block that squares."""

    def largest(self, into: float) -> float:
        return max(into, into**2)

    def length(self, into: float, width: int) -> float:
        return into**2

    def added(self, weight: np.ndarray, bias: np.ndarray, output: np.ndarray, length: float) -> float:
        return min(_added_at_most(weight, bias, output, length), _added_by_parts(weight, bias, output, length))


def _added_at_most(weight: np.ndarray, bias: np.ndarray, output: np.ndarray, length: float) -> float:
    """|sum of u_i^2 o_i| <= sum of u_i^2 |o_i|, a quadratic form of the row."""
    reach = np.linalg.norm(output, axis=1)
    form, linear = (weight * reach) @ weight.T, 2 * (weight * reach) @ bias
    return length**2 * spectral_norm(form) + length * float(np.linalg.norm(linear)) + float(reach @ bias**2)


def _added_by_parts(weight: np.ndarray, bias: np.ndarray, output: np.ndarray, length: float) -> float:
    """The square of u = y W + b is one of y, a linear part and a constant. The first is a tensor, sum of w_i w_i o_i,
    of which no y gives more than its largest singular value as a matrix [outputs, inputs^2].
    """
    gram = weight.T @ weight
    tensor = math.sqrt(max(0.0, float(np.linalg.eigvalsh(output.T @ (gram**2 @ output))[-1])))
    linear = spectral_norm((2 * weight * bias) @ output)
    return length**2 * tensor + length * linear + float(np.linalg.norm(bias**2 @ output))


def _fit(gram: np.ndarray, moment: np.ndarray) -> dict[str, float] | None:
    a, b, c = np.linalg.solve(gram, moment)
    # A concave fit would have no real square root.
    return {"a": float(a), "b": float(b), "c": float(c)} if a > _FLATTEST else None


def _square(x: Array) -> Array:
    return jnp.square(x)


QUAD = ActivationFunction(
    name="quad",
    origin=Origin("a square", "MPCFormer, Li et al. 2023", retrained=True),
    apply=_square,
    bound=_Square(),
    affine=_affine,
    constants={name: Constant(start, "quadratic") for name, start in (("a", 0.125), ("b", 0.25), ("c", 0.5))},
    fit=_fit,
)
