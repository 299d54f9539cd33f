"""Products in half precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from freediv.model import half_precision
from freediv.model.precision import multiply

RNG = np.random.default_rng(0)
X, Y = (RNG.normal(size=shape).astype(np.float32) for shape in ((3, 16, 64), (3, 64, 8)))


def loss(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(multiply(x, y)))


def relative_error(found: jax.Array, wanted: jax.Array) -> float:
    return float(jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted))


def test_half_precision_rounds_operands_to_eight_bits_and_adds_in_full() -> None:
    product = jax.jit(multiply)
    exact = product(X, Y)
    with half_precision():
        half = product(X, Y)
    rounded = X.astype(jnp.bfloat16).astype(np.float32) @ Y.astype(jnp.bfloat16).astype(np.float32)
    assert half.dtype == jnp.float32
    assert relative_error(half, rounded) < 1e-6
    assert 1e-4 < relative_error(half, exact) < 1e-2
    assert np.array_equal(product(X, Y), exact)


def test_gradients_in_half_precision_are_near_those_in_full() -> None:
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    exact = gradient(X, Y)
    with half_precision():
        half = gradient(X, Y)
    for found, wanted in zip(half, exact, strict=True):
        assert found.dtype == jnp.float32
        assert relative_error(found, wanted) < 0.1
