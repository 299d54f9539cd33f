"""ReLU freeDiv: (k / L) relu(s), the linear kernel without its sum."""

from __future__ import annotations

from collections.abc import Mapping

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin
from .function import Affine, AttentionFunction, grows


def _affine(constants: Mapping[str, Array], head_size: int) -> Affine:
    return jnp.exp(constants["log_k"]) * head_size**-0.5, None


RELU_FREEDIV = AttentionFunction(
    name="relu-freediv",
    origin=Origin("comparisons; no maximum, no division", "after Wortsman et al. 2023", retrained=True),
    reads="mask_over_length",
    weigh=lambda x, mask: jnp.maximum(x, 0.0),
    affine=_affine,
    sees_hidden=False,
    bound=grows(lambda x: x),
    constants={"log_k": Constant(0.0, "k")},
)
