"""What blocks have in common whose result is added to what they read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ...later import Array, jnp
from ..architecture import Architecture, LayerSizes
from ..functions.norms import Observe, centred, ignore
from ..functions.singular_values import spectral_norm
from ..stage import Dropout, Shape, keep
from .block import Block, Bound, Folded, NormWeight, Own, Rows, as_read, into


class ResidualBlock(Block):
    """A block whose result, its branch, is added to what it reads; a norm comes after that, or before the branch.

    Attributes:
        reading: the branch's first linear map, into which the norm before folds.
    """

    reading: ClassVar[str]

    def __init__(self, architecture: Architecture, layer: int, before: str, norm: str) -> None:
        super().__init__(architecture, layer, before, norm)
        self.norm_first = architecture.norm_first

    def inputs(self) -> tuple[str, ...]:
        return ("hidden",)

    @property
    @abstractmethod
    def units(self) -> int:
        """Heads or neurons, of which a thinner block has fewer."""

    @abstractmethod
    def units_in(self, sizes: LayerSizes) -> int:
        """How many of them a layer of these sizes has."""

    @property
    @abstractmethod
    def holds(self) -> str:
        """What its last map reads, unit by unit, is observed by this name."""

    @abstractmethod
    def keeping(self, own: Mapping[str, np.ndarray], units: np.ndarray) -> dict[str, np.ndarray]:
        """Unfolded parameters of a block with these of its units alone, in this order."""

    @abstractmethod
    def branch(self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout, observe: Observe) -> Array:
        """What it adds, of rows [batch, length, hidden] and its other inputs."""

    @abstractmethod
    def branch_bound(self, own: Folded, rows: Rows) -> tuple[float, float]:
        """What no rows take the branch beyond: the largest magnitude on the way, and the length of what it adds.

        `UNKNOWN` where nothing is known.
        """

    def apply(
        self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        hidden, *others = inputs
        if not self.norm_first:
            added = self.branch(folded, p, hidden, *others, dropout=dropout, observe=observe)
            x = self.residual(self.left(folded, hidden), p) + added
            observe("residual", x)
            return self.normalise(folded, x, p, observe)
        stream = self.residual(hidden, p)
        rows = hidden if self.reads_as_they_are else self.normalise(folded, stream, p, observe)
        x = self.left(folded, stream) + self.branch(folded, p, rows, *others, dropout=dropout, observe=observe)
        observe("residual", x)
        return x

    def left(self, folded: bool, rows: Array) -> Array:
        """Those of its rows [batch, length, ...] that it leaves."""
        return rows[:, : self.first] if folded and self.first is not None else rows

    def residual_shapes(self) -> dict[str, Shape]:
        """Of what it adds its branch to, folded."""
        hidden, centres = self.architecture.hidden, self.centres_residual
        shapes: dict[str, Shape] = {"residual.weight": (hidden,)} if self.before.scales or centres else {}
        if self.norm_first and self.before.scales:
            shapes["residual.bias"] = (hidden,)
        return shapes | ({"residual.mean": (hidden, 1)} if centres else {})

    @property
    def reads_as_they_are(self) -> bool:
        """Whether its branch reads rows as they are handed over, where it could have a norm."""
        return self.norm_first and not self.norm.scales

    @property
    def centres_residual(self) -> bool:
        """Whether what it adds its branch to is not without a mean, and has to be."""
        if not self.norm_first:
            return self.norm.centres
        return self.architecture.centred_stream and (self.before.scales or self.reads_as_they_are)

    def residual(self, hidden: Array, p: Mapping[str, Array]) -> Array:
        """What it adds its branch to: folded, with the weight of the norm before (whose bias is in the block's own, or
        added here where a norm reads the sum), and centred for the norm after.
        """
        if "residual.weight" not in p:
            return hidden
        x = hidden * p["residual.weight"]
        if "residual.mean" in p:
            mean = hidden.reshape(-1, hidden.shape[-1]) @ p["residual.mean"]
            x = x - mean.reshape(*hidden.shape[:-1], 1)
        return x + p["residual.bias"] if "residual.bias" in p else x

    def fold_constants(self, own: Own) -> Own:
        """Its own constants, into its weights."""
        return own

    def fold(self, own: Own, before: NormWeight | None) -> Own:
        own = self.fold_constants(own)
        if self.norm_first and (first := self.take_norm(own)) is not None:
            into(first, self.reading, own)
        if before is not None:
            if not self.norm_first or self.reads_as_they_are:
                into(before, self.reading, own)
            own["residual.weight"] = before.weight
            if self.norm_first:
                own["residual.bias"] = before.bias
            else:
                own["output.bias"] = own["output.bias"] + before.bias
        if self.centres_residual:
            weight = own.setdefault("residual.weight", jnp.ones_like(own["output.bias"]))
            own["residual.mean"] = weight[:, None] / weight.size
        if self.architecture.centred_stream if self.norm_first else self.norm.centres:
            centring = ("output.weight", "output.bias", "residual.bias")
            own |= {name: centred(own[name]) for name in centring if name in own}
        return own

    def bound(self, own: Folded, rows: Rows) -> Bound:
        stream = self.residual_length(own, rows)
        if not self.norm_first:
            largest, added = self.branch_bound(own, rows)
            return self.bounded(own, largest, stream + added)
        read = rows if self.reads_as_they_are else self.normed(own, stream)
        largest, added = self.branch_bound(own, read)
        left = Rows(stream + added, self.architecture.centred_stream)
        return Bound(max(largest, stream, read.length), stream if self.norm.root else 0.0, left)

    def residual_length(self, own: Folded, rows: Rows) -> float:
        """How long a row can be that it adds its branch to."""
        bias = float(np.linalg.norm(own.get("residual.bias", 0.0)))
        if "residual.weight" not in own:
            return rows.length + bias
        kept = np.diag(own["residual.weight"])
        if "residual.mean" in own:
            kept = kept - own["residual.mean"]
        return rows.length * spectral_norm(as_read(kept, rows)) + bias
