"""I-ViT: Li and Gu 2023, "I-ViT: Integer-only quantization for efficient vision transformer inference" (arXiv
2207.01405): Shiftmax, ShiftGELU and I-LayerNorm.

Powers of two in place of powers of e, whose fractions are a line. The weights of attention have 16 bits, as in the
authors' code; the sigmoid in GELU has as many as activations have.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...later import Array, jnp
from .i_bert import rounded_quotient
from .method import Method, below_largest, standardised

LARGEST = 2**31 - 1
SOFTMAX_STEPS, GELU_STEPS = 15, 23
"""exp is 0 beyond so many halvings."""
SOFTMAX_BITS = 16
SIGMOID = 1.702
"""GELU is x sigmoid(1.702 x)."""
NEWTON, FIRST = 10, 2**16
"""Steps towards a root, from there."""


def exponential(x: Array, scale: Array, steps: int) -> Array:
    """exp of integers that are at most 0, times 2^steps over their scale (ShiftExp)."""
    x = x + (x >> 1) - (x >> 4)  # times log2(e)
    x0 = jnp.floor(-1.0 / scale).astype(jnp.int64)
    x = jnp.maximum(x, steps * x0)
    q = x // x0
    r = x - x0 * q
    return ((r - 2 * x0) << (steps - q)) >> 1


def softmax(x: Array, scale: Array, real: Array, bits: int) -> tuple[Array, Array]:
    """Shiftmax."""
    e = exponential(below_largest(x, real), scale, SOFTMAX_STEPS)
    e = jnp.where(real, e, 0)
    factor = LARGEST // jnp.minimum(jnp.sum(e, axis=-1, keepdims=True), LARGEST)
    return (e * factor) >> (32 - SOFTMAX_BITS), jnp.float64(2.0 ** (1 - SOFTMAX_BITS))


def gelu(x: Array, scale: Array, bits: int) -> tuple[Array, Array]:
    """ShiftGELU: the sigmoid as exp(x - m) / (exp(x - m) + exp(-m)), m the largest of a row, and of 0."""
    inner = scale * SIGMOID
    largest = jnp.maximum(jnp.max(x, axis=-1, keepdims=True), 0)
    e, one = exponential(x - largest, inner, GELU_STEPS), exponential(-largest, inner, GELU_STEPS)
    factor = LARGEST // jnp.minimum(e + one, LARGEST)
    return x * ((e * factor) >> (32 - bits)), scale * 2.0 ** (1 - bits)


def norm(x: Array, scale: Array, own: Mapping[str, Array]) -> tuple[Array, Array]:
    """I-LayerNorm: ten steps of Newton's towards the root of a sum of squares, wherever that is."""
    centred = x - rounded_quotient(jnp.sum(x, axis=-1, keepdims=True), x.shape[-1])
    squares = jnp.sum(jnp.square(centred), axis=-1, keepdims=True)
    root = jnp.full_like(squares, FIRST)
    for _ in range(NEWTON):
        root = jnp.maximum((root + squares // root) >> 1, 1)
    return standardised(centred, root, own, LARGEST)


I_VIT = Method(name="i-vit", source="I-ViT, Li and Gu 2023", softmax=softmax, gelu=gelu, norm=norm)
