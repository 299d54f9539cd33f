"""Activation functions of the feed-forward block.

Each has the form `g(scale * x + shift) + offset`; `folding` moves all but `g` into the neighbouring weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array
Affine: TypeAlias = tuple[Array | float, Array | float, Array | float]
"""scale, shift and offset: scalars."""


def _identity(constants: Mapping[str, Array]) -> Affine:
    return 1.0, 0.0, 0.0


@dataclass(frozen=True)
class ActivationFunction:
    """One activation: `apply(x)` is g; `affine(constants)` gives scale, shift, offset; constants are scalars."""

    name: str
    apply: Callable[[Array], Array]
    affine: Callable[[Mapping[str, Array]], Affine] = _identity
    constants: Mapping[str, float] = field(default_factory=dict)

    @property
    def folds(self) -> bool:
        """Whether scale, shift and offset are other than 1, 0 and 0."""
        return self.affine is not _identity


def _quad_affine(constants: Mapping[str, Array]) -> Affine:
    """a x^2 + b x + c = (sqrt(a) x + b / (2 sqrt(a)))^2 + c - b^2 / (4 a); a must be positive."""
    a, b, c = constants["a"], constants["b"], constants["c"]
    root = jnp.sqrt(a)
    return root, b / (2 * root), c - b * b / (4 * a)


def _gelu_puma(x: Array) -> Array:
    """GELU in four pieces, two of them polynomials of degree 3 and 6: PUMA, Dong et al. 2023, equation 4."""
    x2 = jnp.square(x)
    x3, x4 = x2 * x, jnp.square(x2)
    x6 = x2 * x4
    left = -0.011034134030615728 * x3 - 0.11807612951181953 * x2 - 0.42226581151983866 * x - 0.5054031199708174
    middle = (
        0.0018067462606141187 * x6
        - 0.037688200365904236 * x4
        + 0.3603292692789629 * x2
        + 0.5 * x
        + 0.008526321541038084
    )
    above_left, above_middle, above_right = x >= -4.0, x >= -1.95, x > 3.0
    inner = jnp.where(above_middle, middle, left)
    return jnp.where(above_left, jnp.where(above_right, x, inner), 0.0)


ERF_FOURIER = (1.25772, -0.0299154, 0.382155, -0.0519123, 0.196033, -0.0624557, 0.118029)
"""Coefficients of sin(k pi x / 10), k = 1 to 7, in the Fourier series of erf with period 20."""


def _gelu_fourier(x: Array) -> Array:
    """GELU with erf by seven sines within 1.7 and its sign outside: SecFormer, Luo et al. 2024, equations 5 to 7.

    The seven sines come from one sine and one cosine by Clenshaw's recurrence.
    """
    z = x * 2**-0.5
    angle = z * (jnp.pi / 10)
    sine, double = jnp.sin(angle), 2 * jnp.cos(angle)
    after, later = jnp.zeros_like(z), jnp.zeros_like(z)
    for coefficient in reversed(ERF_FOURIER):
        after, later = coefficient + double * after - later, after
    erf = jnp.where(z < -1.7, -1.0, jnp.where(z > 1.7, 1.0, sine * after))
    return 0.5 * x * (1 + erf)


ACTIVATIONS: dict[str, ActivationFunction] = {
    a.name: a
    for a in (
        # Hendrycks and Gimpel 2016: x Phi(x), and its approximation by tanh.
        ActivationFunction("gelu", lambda x: jax.nn.gelu(x, approximate=False)),
        ActivationFunction("gelu-tanh", lambda x: jax.nn.gelu(x, approximate=True)),
        ActivationFunction("relu", lambda x: jnp.maximum(x, 0.0)),
        # MPCFormer, Li et al., ICLR 2023, section 3.1: 0.125 x^2 + 0.25 x + 0.5 at first; coefficients may be trained.
        ActivationFunction("quad", jnp.square, _quad_affine, {"a": 0.125, "b": 0.25, "c": 0.5}),
        ActivationFunction("gelu-puma", _gelu_puma),
        ActivationFunction("gelu-fourier", _gelu_fourier),
        # No activation: the floor that benchmarks measure against.
        ActivationFunction("none", lambda x: x),
    )
}
