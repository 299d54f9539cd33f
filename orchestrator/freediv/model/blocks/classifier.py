"""The classifier: logits of the first row, of the mean of rows, or of each; or a row itself. Where blocks normalise
what they read, so does it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np

from ...later import Array, jnp
from ..answers import answer_of
from ..architecture import POOLERS, Architecture
from ..functions.norms import NORMALISATIONS, Observe, centred, ignore
from ..functions.pooling import of_pooled
from ..functions.singular_values import spectral_norm
from ..precision import multiply
from ..stage import Dropout, Shape, keep
from .block import Block, Bound, Folded, NormWeight, Own, Rows, as_read, dense, into, largest_product


class Classifier(Block):
    """A norm and a pooler, where there are such, and a linear map, where what the model answers takes one."""

    kind = "classifier"
    output = "logits"
    norm_first = True

    def __init__(self, architecture: Architecture, before: str) -> None:
        super().__init__(architecture, before=before, norm=architecture.final_norm)
        self.answer, self.pools = answer_of(architecture), architecture.pools
        self.pooler, self.pooler_norm = POOLERS[architecture.pooler], NORMALISATIONS[architecture.pooler_norm]

    @property
    def rows(self) -> int:
        """How many rows it reads side by side."""
        return self.architecture.answers_from or 1

    def inputs(self) -> tuple[str, ...]:
        if self.answer.each_piece:
            return ("hidden", "mask")
        means = self.architecture.pooling == "mean" and self.architecture.padded
        return ("hidden", of_pooled("mask_over_length", self.pools)) if means else ("hidden",)

    def shapes(self, folded: bool) -> dict[str, Shape]:
        a = self.architecture
        shapes: dict[str, Shape] = {}
        if self.answer.linear:
            shapes = {"weight": (self.rows * a.hidden, a.labels), "bias": (a.labels,)}
        elif folded and (self.before.scales or self.norm.scales):
            shapes = {"weight": (a.hidden,), "bias": (a.hidden,)}
        if a.row_limits:
            shapes["limits"] = (sum(a.limited),)
        if self.pooler is not None and not (folded and a.pooler == "identity"):
            shapes |= {"pooler.weight": (a.hidden, a.hidden), "pooler.bias": (a.hidden,)}
        if not folded and self.pooler_norm.scales:
            shapes |= {"pooler.norm.weight": (a.hidden,), "pooler.norm.bias": (a.hidden,)}
        return shapes

    def starts(self) -> dict[str, np.ndarray]:
        a = self.architecture
        return {"limits": np.ones(sum(a.limited), np.float32)} if a.row_limits else {}

    def variant(self) -> tuple[Hashable, ...]:
        a = self.architecture
        return (self.answer.name, a.pooler, a.pooler_norm, a.pooling, *super().variant())

    def apply(
        self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        hidden, *masks = inputs
        x = self.features(folded, p, hidden, *masks, observe=observe)
        if "pooler.weight" in p:
            x = dense(x, p["pooler.weight"], p["pooler.bias"])
            observe("pooler", x)
            assert self.pooler is not None
            x = self.pooler.apply(x)
            if self.pooler_norm.scales:
                x = self._normalise_pooled(folded, p, x, observe)
        x = dropout("pooled", x)
        if self.answer.linear:
            x = dense(x, p["weight"], p["bias"])
        elif "weight" in p:
            x = x * p["weight"] + p["bias"]
        return x * masks[0][..., None] if self.answer.each_piece else x

    def features(
        self, folded: bool, p: Mapping[str, Array], hidden: Array, *masks: Array, observe: Observe = ignore
    ) -> Array:
        """What it classifies of rows [batch, length, hidden], with the masks among its inputs: [batch, hidden], or
        these for each row, or several side by side.
        """
        if not masks and self.architecture.pooling != "mean":
            rows = self.normalise(folded, hidden[:, : self.rows], p, observe)
            return rows.reshape(len(rows), -1)
        rows = self.normalise(folded, hidden, p, observe)
        if not masks:
            assert self.architecture.patches is not None
            return rows[:, self.architecture.patches.tokens :].mean(axis=1)
        return rows if self.answer.each_piece else multiply(masks[0][:, None, :], rows)[:, 0]

    def _normalise_pooled(self, folded: bool, p: Mapping[str, Array], x: Array, observe: Observe) -> Array:
        """Folded, its mean is taken out here, as what is before it is not linear."""
        epsilon = self.architecture.norm_epsilon
        if folded:
            return self.pooler_norm.folded(centred(x), {}, epsilon, observe)
        own = {name: p[f"pooler.norm.{name}"] for name in ("weight", "bias")}
        return self.pooler_norm.apply(x, own, epsilon, observe)

    def fold(self, own: Own, before: NormWeight | None) -> Own:
        """The norm before, and an identity pooler, which is a linear map before another."""
        if self.architecture.pooler == "identity":
            pooler, bias = own.pop("pooler.weight"), own.pop("pooler.bias")
            own |= {"weight": pooler @ own["weight"], "bias": bias @ own["weight"] + own["bias"]}
        if self.pooler_norm.scales:
            into(NormWeight(own.pop("pooler.norm.weight"), own.pop("pooler.norm.bias")), "", own)
        for norm in (self.take_norm(own), before):  # of which there is one at most
            if norm is not None and "weight" in own:
                side_by_side = NormWeight(jnp.tile(norm.weight, self.rows), jnp.tile(norm.bias, self.rows))
                into(side_by_side, "pooler" if "pooler.weight" in own else "", own)
            elif norm is not None:  # a mean has it, too: its weights add up to one
                own |= {"weight": norm.weight, "bias": norm.bias}
        return own

    def bound(self, own: Folded, rows: Rows) -> Bound:
        if not self.norm.scales:
            return self._bound(own, rows)
        read = self.normed(own, rows.length)
        after = self._bound(own, read)
        rooted = max(after.rooted, rows.length if self.norm.root else 0.0)
        return Bound(max(after.largest, read.length), rooted, after.left)

    def _bound(self, own: Folded, rows: Rows) -> Bound:
        """After the norm; a mean of rows is no longer than the longest."""
        unknown, left, rooted = Bound(math.inf, math.inf, Rows(0.0, False)), Rows(0.0, False), 0.0
        if math.isinf(rows.length):
            return unknown
        largest = 0.0
        if self.rows > 1:
            rows = Rows(rows.length * math.sqrt(self.rows), False)
        if "pooler.weight" in own:
            assert self.pooler is not None
            if (bound := self.pooler.bound) is None:
                return unknown
            weight, bias = as_read(own["pooler.weight"], rows), own["pooler.bias"]
            largest = bound.largest(largest_product(weight, bias, rows.length))
            longest = rows.length * spectral_norm(weight) + float(np.linalg.norm(bias))
            rows = Rows(bound.length(longest, len(bias)), False)
            if self.pooler_norm.root:
                rooted, rows = rows.length, Rows(self.pooler_norm.length({}, rows.length, len(bias)), True)
                largest = max(largest, rooted, rows.length)
        if self.answer.linear:
            largest = max(largest, largest_product(as_read(own["weight"], rows), own["bias"], rows.length))
        else:
            scale, shift = own.get("weight", np.ones(1)), own.get("bias", np.zeros(1))
            largest = max(largest, float(np.max(rows.length * np.abs(scale) + np.abs(shift))))
        return Bound(largest, rooted, left)
