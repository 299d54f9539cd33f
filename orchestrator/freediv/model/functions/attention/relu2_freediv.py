"""Squared ReLU freeDiv: (k / L) relu(s)^2. With k = 1: Wortsman et al. 2023, Replacing softmax with ReLU in vision
transformers.
"""

from __future__ import annotations

from collections.abc import Mapping

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin
from .function import Affine, AttentionFunction, grows


def _affine(constants: Mapping[str, Array], head_size: int) -> Affine:
    """k relu(s)^2 = relu(sqrt(k) s)^2."""
    return jnp.exp(0.5 * constants["log_k"]) * head_size**-0.5, None


RELU2_FREEDIV = AttentionFunction(
    name="relu2-freediv",
    origin=Origin("comparisons and a square; no maximum, no division", "after Wortsman et al. 2023", retrained=True),
    reads="mask_over_length",
    weigh=lambda x, mask: jnp.square(jnp.maximum(x, 0.0)),
    affine=_affine,
    sees_hidden=False,
    bound=grows(lambda x: max(x, x**2)),
    constants={"log_k": Constant(0.0, "k")},
)
