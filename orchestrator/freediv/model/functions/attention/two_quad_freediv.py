"""2Quad freeDiv: Liu et al. 2024, reconstructed: (k / L) (s + c)^2."""

from __future__ import annotations

from collections.abc import Mapping

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin
from .function import Affine, AttentionFunction, grows


def _affine(constants: Mapping[str, Array], head_size: int) -> Affine:
    """k (s + c)^2 = (sqrt(k) s + sqrt(k) c)^2."""
    root = jnp.exp(0.5 * constants["log_k"])
    return root * head_size**-0.5, root * constants["c"]


TWO_QUAD_FREEDIV = AttentionFunction(
    name="2quad-freediv",
    origin=Origin("a square for the exponential; no maximum, no division", "Liu et al. 2024", retrained=True),
    reads="mask_over_length",
    weigh=lambda x, mask: jnp.square(x),
    affine=_affine,
    shifts=True,
    sees_hidden=False,
    bound=grows(lambda x: x**2),
    constants={"log_k": Constant(0.0, "k"), "c": Constant(5.0, "c")},
)
