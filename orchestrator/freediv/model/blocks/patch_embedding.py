"""The patch embedding: an image's patches through a linear map, rows of no image before them, and places.

Its owner sends a row for each place, zero where it is of no image, so that lengths are alike all the way. Whatever else
stands there is a row like others: it gives no more than what an owner may send as a patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ...later import Array, jnp
from ..architecture import Architecture
from ..functions.norms import Observe, centred, ignore
from ..functions.singular_values import spectral_norm
from ..precision import multiply
from ..stage import Dropout, Shape, keep
from .block import Block, Bound, Folded, NormWeight, Own, Rows, largest_product

_TOKENS = ("class", "distillation")
"""The rows of no image, in their order."""


class PatchEmbedding(Block):
    """Rows of an image, which its owner cut into patches."""

    kind = "embedding"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture, norm=architecture.embedding_norm)
        assert architecture.patches is not None
        self.patches = architecture.patches
        self.tokens = _TOKENS[: self.patches.tokens]

    def inputs(self) -> tuple[str, ...]:
        return ("rows",)

    def shapes(self, folded: bool) -> dict[str, Shape]:
        a = self.architecture
        shapes: dict[str, Shape] = {"patch.weight": (a.embedding_size, a.hidden), "position": (a.positions, a.hidden)}
        if not folded:
            shapes |= {"patch.bias": (a.hidden,), **dict.fromkeys(self.tokens, (a.hidden,))}
        return shapes

    def apply(
        self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        (rows,) = inputs
        places = p["position"] if folded else self._places(p)
        batch, length, width = rows.shape
        patches = multiply(rows.reshape(-1, width), p["patch.weight"]).reshape(batch, length, -1)
        x = patches + places
        observe("rows", x)
        return dropout("output", self.normalise(folded, x, p, observe))

    def _places(self, p: Mapping[str, Array]) -> Array:
        """What each place adds to what is made of its row [positions, hidden]."""
        tokens = jnp.stack([p[name] for name in self.tokens])
        patches = jnp.broadcast_to(p["patch.bias"], (self.patches.rows - self.patches.tokens, tokens.shape[1]))
        return p["position"] + jnp.concatenate([tokens, patches])

    def fold(self, own: Own, before: NormWeight | None) -> Own:
        """Tokens, and the patches' bias, join the places."""
        own["position"] = self._places(own)
        for name in (*self.tokens, "patch.bias"):
            del own[name]
        if self.architecture.centred_embedding:
            own |= {name: centred(own[name]) for name in ("position", "patch.weight")}
        return own

    def bound(self, own: Folded, rows: Rows) -> Bound:
        weight, places = own["patch.weight"], own["position"]
        longest = self.patches.longest_row
        length = longest * spectral_norm(weight) + float(np.linalg.norm(places, axis=-1).max())
        largest = max(self.patches.largest_pixel, largest_product(weight, np.abs(places).max(axis=0), longest))
        bound = self.bounded(own, largest, length)
        return replace(bound, left=replace(bound.left, centred=self.architecture.centred_embedding))
