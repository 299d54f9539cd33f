"""Attention functions: what turns scores into attention weights.

Every function here has the form `g(scale * (q k^T) + shift)`, with `scale` and `shift` per head, made from the
constants that are calibrated and trained. `g` alone is what a secure run pays for: `folding` moves `scale` into the
query and key weights, and `shift` stays as a secret constant per head.

s = q k^T / sqrt(d); m is the 0/1 mask of real word pieces; L their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from .products import multiply

Array: TypeAlias = jax.Array
Affine: TypeAlias = tuple[Array | float, Array | float | None]
"""scale [heads] and shift [heads] (None: no shift)."""

FREEDIV_SQUARINGS = 5
"""t of softmax-freediv: exp(s) is taken as (1 + s / 2^t)^(2^t)."""


@jax.jit
def multiply_heads(x: Array, y: Array) -> Array:
    """x [batch, heads, n, k] times y [batch, heads, k, m]. By its name an engine knows it, and may lay it out anew."""
    return multiply(x, y)


@dataclass(frozen=True)
class AttentionFunction:
    """One way to weigh values.

    `weigh(x [batch, heads, length, length], mask [batch, length])` gives weights of x's shape; with `reads` equal to
    `"mask_over_length"` it is called without a mask, which instead multiplies the value rows and carries 1/L.
    `affine(constants, head_size)` gives scale and shift of the scores; each constant is an array [heads].
    `sums_to_one` says whether a row's weights are none below zero, and one in all.
    """

    name: str
    reads: Literal["mask", "mask_over_length", "nothing"]
    weigh: Callable[[Array, Array | None], Array]
    affine: Callable[[Mapping[str, Array], int], Affine]
    constants: Mapping[str, float] = field(default_factory=dict)
    sums_to_one: bool = False

    @property
    def shifts(self) -> bool:
        """Whether a shift per head is added to the scores."""
        return self.affine({name: jnp.zeros(1) for name in self.constants}, 1)[1] is not None


def _plain(constants: Mapping[str, Array], head_size: int) -> Affine:
    return head_size**-0.5, None


def _softmax(x: Array, mask: Array | None) -> Array:
    """Softmax over real pieces: Vaswani et al. 2017, equation 1.

    Masked scores are lowered by 30 rather than by a huge number, which a fixed-point exponential would not survive,
    and what is left of them is multiplied by the mask.
    """
    assert mask is not None
    m = mask[:, None, None, :]
    x = x + (m - 1) * 30.0
    e = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True)) * m
    return e / jnp.sum(e, axis=-1, keepdims=True)


def _quad(x: Array, mask: Array | None) -> Array:
    """(s + c)^2 over its row sum: `2Quad` of MPCFormer, Li et al., ICLR 2023, section 3.2."""
    assert mask is not None
    e = jnp.square(x) * mask[:, None, None, :]
    return e / jnp.sum(e, axis=-1, keepdims=True)


def _softmax_puma(x: Array, mask: Array | None) -> Array:
    """Softmax with PUMA's exponential: 0 below -14, else (1 + x / 2^5)^(2^5). Dong et al. 2023, equation 2."""
    assert mask is not None
    m = mask[:, None, None, :]
    x = x + (m - 1) * 30.0
    x = x - jnp.max(x, axis=-1, keepdims=True)
    power = 1 + x / 32
    for _ in range(5):
        power = jnp.square(power)
    e = power * (x > -14) * m
    return e / jnp.sum(e, axis=-1, keepdims=True)


def _quad_goldschmidt(x: Array, mask: Array | None) -> Array:
    """2Quad with the row sum's reciprocal by Goldschmidt's iteration: SecFormer, Luo et al. 2024, algorithm 3.

    The sum is deflated by 5000 and 13 steps are taken, as published; it must lie below twice that.
    """
    assert mask is not None
    e = jnp.square(x) * mask[:, None, None, :]
    q = jnp.sum(e, axis=-1, keepdims=True) / 5000.0
    reciprocal = jnp.full_like(q, 1 / 5000.0)
    for _ in range(13):
        step = 2.0 - q
        reciprocal, q = reciprocal * step, q * step
    return e * reciprocal


def _shifted(constants: Mapping[str, Array], head_size: int) -> Affine:
    return head_size**-0.5, constants["c"]


def _square(x: Array, mask: Array | None) -> Array:
    return jnp.square(x)


def _quad_freediv_affine(constants: Mapping[str, Array], head_size: int) -> Affine:
    """k (s + c)^2 = (sqrt(k) s + sqrt(k) c)^2."""
    root = jnp.exp(0.5 * constants["log_k"])
    return root * head_size**-0.5, root * constants["c"]


def _power(x: Array, mask: Array | None) -> Array:
    for _ in range(FREEDIV_SQUARINGS):
        x = jnp.square(x)
    return x


def _softmax_freediv_affine(constants: Mapping[str, Array], head_size: int) -> Affine:
    """(1 + (s + ln k) / 2^t)^(2^t)."""
    n = 2.0**FREEDIV_SQUARINGS
    return head_size**-0.5 / n, 1.0 + constants["log_k"] / n


def _relu(x: Array, mask: Array | None) -> Array:
    return jnp.maximum(x, 0.0)


def _relu_freediv_affine(constants: Mapping[str, Array], head_size: int) -> Affine:
    return jnp.exp(constants["log_k"]) * head_size**-0.5, None


ATTENTIONS: dict[str, AttentionFunction] = {
    a.name: a
    for a in (
        AttentionFunction("softmax", "mask", _softmax, _plain, sums_to_one=True),
        AttentionFunction("2quad", "mask", _quad, _shifted, {"c": 5.0}, sums_to_one=True),
        # Liu et al. 2024, reconstructed: exp as a power, no maximum, no sum; k and L in place of the sum.
        AttentionFunction("softmax-freediv", "mask_over_length", _power, _softmax_freediv_affine, {"log_k": 0.0}),
        # Liu et al. 2024, reconstructed: (k / L) (s + c)^2.
        AttentionFunction("2quad-freediv", "mask_over_length", _square, _quad_freediv_affine, {"log_k": 0.0, "c": 5.0}),
        # (k / L) relu(s): the linear kernel without its sum.
        AttentionFunction("relu-freediv", "mask_over_length", _relu, _relu_freediv_affine, {"log_k": 0.0}),
        AttentionFunction("softmax-puma", "mask", _softmax_puma, _plain, sums_to_one=True),
        AttentionFunction("2quad-goldschmidt", "mask", _quad_goldschmidt, _shifted, {"c": 5.0}),
        # The scores themselves: no attention function at all, the floor that benchmarks measure against.
        AttentionFunction("none", "nothing", lambda x, mask: x, _plain),
    )
}
