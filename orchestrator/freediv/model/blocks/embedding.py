"""The embedding: words, positions and segments, and the norm that makes rows of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace

import numpy as np

from ...later import Array
from ..architecture import Architecture
from ..functions.norms import NORMALISATIONS, Normalisation, Observe, centred, ignore
from ..functions.singular_values import spectral_norm
from ..precision import multiply
from ..stage import Dropout, Shape, keep
from .block import Block, Bound, Folded, NormWeight, Own, Rows, as_read, dense, into, largest_product


class Embedding(Block):
    """Rows of word pieces: looked up by a secret one-hot, or by the data owner where the table is published."""

    kind = "embedding"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture, norm=architecture.embedding_norm)
        self.normed_width = architecture.summed_width
        self.maps = architecture.embedding_width is not None

    def inputs(self) -> tuple[str, ...]:
        a = self.architecture
        return ("one_hot" if a.embedding == "secret" else "rows", *(["segment"] if a.reads_segments else []))

    def shapes(self, folded: bool) -> dict[str, Shape]:
        a, width = self.architecture, self.normed_width
        shapes: dict[str, Shape] = {"position": (a.positions, width)} if a.absolute_positions else {}
        if not (folded and a.embedding == "public"):
            shapes["word"] = (a.vocabulary, a.embedding_size)
        if a.embedding_size != width:
            shapes["projection"] = (a.embedding_size, width)
        if not folded and a.token_types:
            shapes["token_type"] = (a.token_types, width)
        if folded and a.token_types and not a.absolute_positions:
            shapes["first"] = (width,)
        if folded and a.reads_segments:
            shapes["segment"] = (width,)
        if self.maps:
            shapes |= {"map.weight": (width, a.hidden), "map.bias": (a.hidden,)}
        return shapes

    def variant(self) -> tuple[Hashable, ...]:
        return (*super().variant(), *self.inputs())

    def apply(
        self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        a, (words, *segment) = self.architecture, inputs
        if a.embedding == "secret":
            rows = multiply(words.reshape(-1, a.vocabulary), p["word"])
            words = rows.reshape(*words.shape[:2], a.embedding_size)
        return self.of_rows(folded, p, words, *segment, dropout=dropout, observe=observe)

    def of_rows(
        self,
        folded: bool,
        p: Mapping[str, Array],
        rows: Array,
        segment: Array | None = None,
        *,
        dropout: Dropout = keep,
        observe: Observe = ignore,
    ) -> Array:
        """The embedding of rows [batch, length, embedding_size] of the word table."""
        p = p if folded else self.completed(p)
        batch, length, width = rows.shape
        if "projection" in p:
            rows = multiply(rows.reshape(-1, width), p["projection"]).reshape(batch, length, self.normed_width)
        x = rows + p["position"][:length] if "position" in p else rows
        if "token_type" in p:
            x = x + p["token_type"][0]
        if "first" in p:
            x = x + p["first"]
        if segment is not None:
            x = x + segment[..., None] * (p["segment"] if folded else p["token_type"][1] - p["token_type"][0])
        x = dropout("output", self.normalise(folded, x, p, observe))
        return dense(x, p["map.weight"], p["map.bias"]) if self.maps else x

    @property
    def after(self) -> Normalisation:
        """A map takes its norm's weight and bias in itself."""
        return NORMALISATIONS["none"] if self.maps else super().after

    def hand_over(self, own: Own, before: NormWeight | None) -> NormWeight | None:
        """As above."""
        norm = self.take_norm(own)
        if norm is None or not self.maps:
            return norm
        into(norm, "map", own)
        return None

    def fold(self, own: Own, before: NormWeight | None) -> Own:
        """The first token type joins the positions, if there are any; the second is told by what it differs in."""
        a = self.architecture
        if a.token_types:
            first, *others = own.pop("token_type")
            own |= {"position": own["position"] + first} if a.absolute_positions else {"first": first}
            if a.reads_segments:
                own["segment"] = others[0] - first
        if a.embedding == "public":
            del own["word"]
        if a.centred_embedding:
            # A public table is its readers' own: `prepare_inputs` centres its rows.
            table = "projection" if "projection" in own else "word"
            own |= {name: centred(own[name]) for name in ("position", "first", "segment", table) if name in own}
        return own

    def bound(self, own: Folded, rows: Rows) -> Bound:
        """A published table, which is not among the parameters, has to be put there as `word`."""
        if (word := own.get("word")) is None:
            return self._mapped(own, self.bounded(own, math.inf, math.inf))
        table = word @ own["projection"] if "projection" in own else word
        added = sum(_longest(own[name]) for name in ("position", "first", "segment") if name in own)
        bound = self.bounded(own, float(np.abs(word).max()), _longest(table) + added)
        left = replace(bound.left, centred=self.architecture.centred_embedding)
        return self._mapped(own, replace(bound, left=left))

    def _mapped(self, own: Folded, bound: Bound) -> Bound:
        """With the map after the norm, where there is one."""
        if not self.maps or math.isinf(bound.left.length):
            return bound
        weight, bias, length = as_read(own["map.weight"], bound.left), own["map.bias"], bound.left.length
        left = Rows(length * spectral_norm(weight) + float(np.linalg.norm(bias)), False)
        return Bound(max(bound.largest, length, largest_product(weight, bias, length)), bound.rooted, left)


def _longest(rows: np.ndarray) -> float:
    return float(np.linalg.norm(rows, axis=-1).max())
