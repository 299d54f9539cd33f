"""FQ-ViT: Lin et al. 2022, "FQ-ViT: Post-training quantization for fully quantized vision transformer" (arXiv
2111.13824): attention weights as powers of two, norms by a multiplier of 8 bits and a shift.

GELU stays in floating point. What a norm reads has a power of two for each channel, as a factor of its scale; a mean
and a deviation of a row are doubles, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...later import Array, jax, jnp
from .i_bert import exponential
from .method import Method, below_largest

CODES = 2**4
"""Different weights of attention: 1, 1/2, 1/4, ..."""
MULTIPLIER = 7
"""Bits of a multiplier after its first."""
FURTHEST = 31


def softmax(x: Array, scale: Array, real: Array, bits: int) -> tuple[Array, Array]:
    """Log-Int-Softmax: 2^-k, k the rounded logarithm of sum over exp; 0 where it has no code. With exp of I-BERT."""
    e = jnp.where(real, exponential(below_largest(x, real), scale), 0)
    total, safe = jnp.sum(e, axis=-1, keepdims=True), jnp.maximum(e, 1)
    quotient = (2 * total + safe) // (2 * safe)
    code = 63 - jax.lax.clz(quotient)
    code = code + (quotient - (1 << code) >= ((1 << code) >> 1)) * (code > 0)
    weights = jnp.where((e > 0) & (code < CODES), 1 << (CODES - 1 - jnp.minimum(code, CODES - 1)), 0)
    return weights, jnp.float64(2.0 ** (1 - CODES))


def norm(x: Array, scale: Array, own: Mapping[str, Array]) -> tuple[Array, Array]:
    """(M x + B) / 2^N, rounded, for each channel, on the scale of what the next block reads."""
    width = x.shape[-1]
    total = jnp.sum(x, axis=-1, keepdims=True)
    spread = jnp.sqrt(jnp.maximum(width * jnp.sum(jnp.square(x), axis=-1, keepdims=True) - total * total, 1) * 1.0)
    out = own["scale"]
    ratio = own["weight"] * width / (spread * out)
    exponent = jnp.frexp(jnp.maximum(jnp.abs(ratio), 2.0**-FURTHEST))[1]
    places = jnp.clip(MULTIPLIER + 1 - exponent.astype(jnp.int64), 0, FURTHEST)
    power = (1 << places).astype(jnp.float64)
    multiplier = jnp.clip(jnp.floor(jnp.abs(ratio) * power), 0, 2 ** (MULTIPLIER + 1) - 1).astype(jnp.int64)
    offset = jnp.round((own["bias"] - own["weight"] * total / spread) / out * power).astype(jnp.int64)
    signed = jnp.where(ratio < 0, -multiplier, multiplier)
    numerator = signed * x + offset
    return (numerator + ((1 << places) >> 1)) >> places, jnp.broadcast_to(out, (width,))


FQ_VIT = Method(name="fq-vit", source="FQ-ViT, Lin et al. 2022", softmax=softmax, gelu=None, norm=norm, factors=True)
