"""I-BERT: Kim et al. 2021, "I-BERT: Integer-only BERT quantization" (arXiv 2101.01321), algorithms 1 to 4.

Polynomials of the second degree for exp and erf; what leaves exp has 16 bits before its sum is taken, as in the
authors' code. Roots are exact, of numbers shifted so that squares of a row fit into 32 bits together.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...later import Array, jax, jnp
from .method import Method, below_largest, standardised

EXP = (0.35815147, 0.96963238 / 0.35815147, 1.0 / 0.35815147)
"""exp(x) on (-ln 2, 0]: a (x^2 + b x + c)."""
ERF = (-0.2888, -1.769)
"""erf(x) from 0 on: a (min(x, -b) + b)^2 + 1."""
LN2 = 0.6931
STEPS = 30
"""exp is 0 beyond so many times ln 2."""


def exponential(x: Array, scale: Array) -> Array:
    """exp of integers that are at most 0, times an integer power of two over a scale of its own."""
    x0 = jnp.floor(-LN2 / scale).astype(jnp.int64)
    b, c = jnp.floor(EXP[1] / scale).astype(jnp.int64), jnp.floor(EXP[2] / (scale * scale)).astype(jnp.int64)
    x = jnp.maximum(x, STEPS * x0)
    q = x // x0
    r = x - x0 * q
    return (r * (r + b) + c) << (STEPS - q)


def softmax(x: Array, scale: Array, real: Array, bits: int) -> tuple[Array, Array]:
    """Weights of `bits` bits; the largest exp is that of 0, to which its 16 bits reach."""
    e = exponential(below_largest(x, real), scale)
    one = exponential(jnp.zeros((), jnp.int64), scale)
    e = jnp.where(real, (e >> 15) * (2**15 - 1) // jnp.maximum(one >> 15, 1), 0)
    factor = 2**32 // jnp.maximum(jnp.sum(e, axis=-1, keepdims=True), 1)
    return (e * factor) >> (32 - bits), jnp.float64(2.0**-bits)


def gelu(x: Array, scale: Array, bits: int) -> tuple[Array, Array]:
    """x (1 + erf(x / sqrt 2)) / 2."""
    inner = scale * 2.0**-0.5
    a, b = ERF
    least, one = jnp.floor(b / inner).astype(jnp.int64), jnp.floor(1.0 / (a * inner * inner)).astype(jnp.int64)
    erf = jnp.sign(x) * (jnp.square(jnp.minimum(jnp.abs(x), -least) + least) + one)
    of_erf = a * inner * inner
    return x * (erf + jnp.floor(1.0 / of_erf).astype(jnp.int64)), scale * of_erf / 2.0


def norm(x: Array, scale: Array, own: Mapping[str, Array]) -> tuple[Array, Array]:
    """Rows less their mean, over an exact integer root, from a shifted sum of squares."""
    total, width = jnp.sum(x, axis=-1, keepdims=True), x.shape[-1]
    centred = x - rounded_quotient(total, width)
    squares = jnp.sum(jnp.square(centred >> own["shift"]), axis=-1, keepdims=True)
    return standardised(centred, jnp.maximum(integer_root(squares) << own["shift"], 1), own, 2**31)


def rounded_quotient(total: Array, width: int) -> Array:
    """The nearest integer to total / width; of two the even one."""
    quotient, rest = total // width, total % width
    up = (2 * rest > width) | ((2 * rest == width) & (quotient % 2 == 1))
    return quotient + up


def integer_root(n: Array) -> Array:
    """The largest integer whose square is n at most: Newton's steps from a power of two above it (algorithm 4)."""
    bits = 64 - jax.lax.clz(n)
    x = 1 << ((bits + 1) // 2)
    for _ in range(_ENOUGH):
        x = jnp.minimum(x, (x + n // x) >> 1)
    return x


_ENOUGH = 8  # from within a factor of two of it, for 64 bits

I_BERT = Method(name="i-bert", source="I-BERT, Kim et al. 2021", softmax=softmax, gelu=gelu, norm=norm)
