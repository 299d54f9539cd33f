"""Softmax freeDiv: Liu et al. 2024, reconstructed. exp as a power, no maximum, no sum; k and L in place of the sum."""

from __future__ import annotations

from collections.abc import Mapping

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin
from .function import Affine, AttentionFunction, grows

SQUARINGS = 5
"""t: exp(s) is taken as (1 + s / 2^t)^(2^t)."""


def _power(x: Array, mask: Array | None) -> Array:
    for _ in range(SQUARINGS):
        x = jnp.square(x)
    return x


def _affine(constants: Mapping[str, Array], head_size: int) -> Affine:
    """(1 + (s + ln k) / 2^t)^(2^t)."""
    n = 2.0**SQUARINGS
    return head_size**-0.5 / n, 1.0 + constants["log_k"] / n


SOFTMAX_FREEDIV = AttentionFunction(
    name="softmax-freediv",
    origin=Origin("a power for the exponential; no maximum, no division", "Liu et al. 2024", retrained=True),
    reads="mask_over_length",
    weigh=_power,
    affine=_affine,
    shifts=True,
    sees_hidden=False,
    bound=grows(lambda x: max(x, x ** (2**SQUARINGS)) if x < 1e9 else float("inf")),
    constants={"log_k": Constant(0.0, "k")},
    mean="geometric",
)
