"""Moving constants into neighbouring weights, exactly.

Under MPC every product by a constant is a truncation, and a truncation is communication. Folding changes no function,
only where its constants stand; a secure run loads folded parameters. How a block folds is said in its file (`blocks`).
Each fold is differentiable, in float32 exact to rounding, and tested against the unfolded model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..later import Array, jnp
from .architecture import Architecture
from .blocks import blocks_of
from .blocks.block import NormWeight
from .limits import LARGEST
from .stage import Parameters
from .thinness import require_all_rows

if TYPE_CHECKING:
    from jax.typing import ArrayLike


def fold(architecture: Architecture, parameters: Mapping[str, Mapping[str, ArrayLike]]) -> Parameters:
    """Folded parameters of a model, with the shapes of `parameter_shapes(architecture, folded=True)`.

    Raises:
        UserError: it cannot be run so.
    """
    require_all_rows(architecture)
    folded: Parameters = {}
    before: NormWeight | None = None
    scales: list[Array] = []  # of what a row that has a limit is, over what it was
    for block in blocks_of(architecture):
        own = block.completed({name: jnp.asarray(value) for name, value in parameters[block.name].items()})
        own = block.fold(own, before)
        if block.limited:
            scales.append(jnp.exp(-own["norm.log_g"][1]))
        if "limits" in own:
            squares = architecture.hidden * jnp.square(jnp.stack(scales))
            own["limits"] = jnp.minimum(own["limits"] * squares, LARGEST)
        before = block.hand_over(own, before)
        folded[block.name] = own
    return folded
