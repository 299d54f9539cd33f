"""LayerNorm in few messages: a reciprocal root of its own.

SPU finds the highest bit of its argument and iterates: 46 messages whatever the number of elements. Here all
thresholds are compared at once, the bits add up to a first guess y of 1 / sqrt(v) within a fourth root of two, and one
polynomial of t = v y^2, which lies between 2^-1/4 and 2^1/4, corrects it: 1 / sqrt(v) = y t^-1/2. The comparison takes
ten messages, and the products four exchanges.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from ...model.functions.norms.layernorm import LARGEST_VARIANCE

LOWEST, HIGHEST = -11, round(math.log2(LARGEST_VARIANCE))
"""Powers of two between which the relative error is below `ERROR`, apart from the last bit of a fixed-point number.

Below, the result stays under 100, so that a variance of zero is harmless; above, it is soon wrong (by more than half
at twice as much), so that a student's headroom counts from here where the ring itself has room for more.
"""
ERROR = 1.6e-4

_POWERS = np.arange(2 * LOWEST, 2 * HIGHEST) / 2
_GUESSES = 2.0 ** -((_POWERS + 0.25) / 2)
_POLYNOMIAL = (-1 / 2, 3 / 8, -9 / 32)
"""Of h = t - 1 beside 1, for t^-1/2 / `_FIT`: the best of those so short that a product's summand has room for them."""
_FIT = 1.000148


def reciprocal_root(v: jax.Array, scale: float = 1.0) -> jax.Array:
    """scale / sqrt(v), element by element, for v between 2^LOWEST and 2^HIGHEST."""
    above = v[..., None] > jnp.asarray(2.0 ** _POWERS[1:], v.dtype)
    steps = jnp.asarray(np.diff(_GUESSES), v.dtype)
    guess = jnp.sum(above.astype(v.dtype) * steps, axis=-1) + _GUESSES[0]
    scaled = guess * (scale * _FIT)
    h = (v * guess) * guess - 1.0
    square, first = h * h, scaled * h
    slope, curve, bend = _POLYNOMIAL
    return scaled + slope * first + curve * (scaled * square) + bend * (first * square)


def standardise(x: jax.Array, epsilon: jax.Array) -> jax.Array:
    """x / sqrt(mean(x^2) + epsilon) over the last axis.

    A mean over n = c 2^b numbers, c in (1/2, 1], is no short binary fraction of their sum, but w = sum(x^2) / 2^b is,
    which is c times the mean: the quotient is sqrt(c) x / sqrt(w + c epsilon).
    """
    n = x.shape[-1]
    c = n / 2 ** math.ceil(math.log2(n))
    w = jnp.sum(x * x, axis=-1, keepdims=True) * (c / n)
    return x * reciprocal_root(w + c * epsilon, scale=c**0.5)
