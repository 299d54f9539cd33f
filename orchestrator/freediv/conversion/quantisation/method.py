"""What a published method says of itself: its integer functions, for evaluation alone.

An integer x stands for the number x * scale. All is 64-bit integers, and divisions of doubles that any processor rounds
alike, so that the results are the same to the last bit wherever they are computed. Under MPC every shift, integer
division and maximum here would cost far more than the functions that students have, so that no model with these is
converted or served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ...later import Array, jnp

Softmax: TypeAlias = Callable[[Array, Array, Array, int], tuple[Array, Array]]
"""(scores [..., n], their scale, which of them count [..., n], bits of activations) -> weights, their scale."""
Gelu: TypeAlias = Callable[[Array, Array, int], tuple[Array, Array]]
"""(x [..., n], its scale, bits of activations) -> GELU of it, and its scale."""
Norm: TypeAlias = Callable[[Array, Array, Mapping[str, Array]], tuple[Array, Array]]
"""(x [..., n], its scale, constants) -> LayerNorm of it, and the scale of each channel [n].

Constants: `weight` and `bias` [n] (doubles), `shift` (by which sums of squares fit into 32 bits, when each number is
shifted so) and `scale` of what the next block reads.
"""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method. What has no default has to be said.

    Attributes:
        name: on the command line.
        source: who published it.
        gelu: None: it leaves GELU in floating point.
        factors: whether channels that its norms read have powers of two as factors of their scale (8 at most).
    """

    name: str
    source: str
    softmax: Softmax
    gelu: Gelu | None
    norm: Norm
    factors: bool = False


def below_largest(x: Array, real: Array) -> Array:
    """x less the largest of those that count; 0 at most, where one does not."""
    largest = jnp.max(jnp.where(real, x, -(2**62)), axis=-1, keepdims=True)
    return jnp.minimum(x - largest, 0)


def standardised(centred: Array, root: Array, own: Mapping[str, Array], numerator: int) -> tuple[Array, Array]:
    """Rows over their root, with bias and weight: what I-BERT and I-ViT have in common (Kim et al. 2021, algorithm 4).

    Args:
        centred: [..., n].
        root: of the sum of their squares [..., 1].
        own: `weight` and `bias`.
        numerator: about 2^31.
    """
    weight = jnp.where(jnp.abs(own["weight"]) < _LEAST, _LEAST, own["weight"])  # the bias is divided by it
    across = centred.shape[-1] ** 0.5
    bias = jnp.floor(own["bias"] * 2.0**30 / (weight * across)).astype(jnp.int64)
    return ((centred * (numerator // root)) >> 1) + bias, weight * across / 2.0**30


_LEAST = 1e-6
