"""Attention whose scores depend on content and on distance, apart from each other: He et al. 2021 (DeBERTa)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from ...later import Array, jnp
from ..architecture import Architecture
from ..functions.disentangled import Disentangled, ascending, at_places, take_rows
from ..functions.norms import NORMALISATIONS, ignore
from ..stage import Shape
from .attention import Attention, multiply_heads
from .block import Folded, Own, Rows, as_read, dense

_MADE_OF = {"c2p": "position_key", "p2c": "position_query"}
"""What is made of the table of distances, for each term."""


class DisentangledAttention(Attention):
    """Attention with keys and queries of distances.

    The table of distances [2 span, hidden], its norm and the maps that make keys and queries of it depend on no text:
    folded, only keys and queries [2 span, hidden] are left. Each layer has a table of its own, which may learn; where
    `shared`, the maps are those of pieces.
    """

    scores_all = True

    def __init__(self, architecture: Architecture, layer: int, before: str) -> None:
        super().__init__(architecture, layer, before)
        assert architecture.disentangled is not None
        self.positions: Disentangled = architecture.disentangled

    @property
    def width(self) -> int:
        return super().width * self.positions.widening

    def shapes(self, folded: bool) -> dict[str, Shape]:
        a, positions = self.architecture, self.positions
        shapes = super().shapes(folded)
        if folded:
            return shapes | {_MADE_OF[term]: (2 * positions.span, self.inner) for term in positions.added}
        if not positions.added:
            return shapes
        shapes["distances"] = (2 * positions.span, a.hidden)
        if positions.normed:
            shapes |= {"distances_norm.weight": (a.hidden,), "distances_norm.bias": (a.hidden,)}
        if not positions.shared:
            for term in positions.added:
                made = _MADE_OF[term]
                shapes |= {f"{made}.weight": (a.hidden, self.inner), f"{made}.bias": (self.inner,)}
        return shapes

    def variant(self) -> tuple[Hashable, ...]:
        return (self.positions, *super().variant())

    def scores(self, folded: bool, p: Mapping[str, Array], query: Array, key: Array) -> Array:
        x = super().scores(folded, p, query, key)
        batch, heads, length, size = query.shape
        for term in self.positions.added:
            # Of a key, the distance to its query is the other way round.
            distance = self.apart * ascending(length)
            rows = self.positions.rows_of(-distance if term == "c2p" else distance)
            table = self._keys(folded, p, term, rows).reshape(2 * length, heads, size)
            table = jnp.broadcast_to(table.transpose(1, 0, 2), (batch, heads, 2 * length, size))
            if term == "c2p":
                x = x + at_places(multiply_heads(query, table.swapaxes(-1, -2)))
            else:
                x = x + at_places(multiply_heads(table, key).swapaxes(-1, -2)).swapaxes(-1, -2)
        return x

    def _keys(self, folded: bool, p: Mapping[str, Array], term: str, rows: np.ndarray) -> Array:
        """Keys of distances, or queries, [len(rows), hidden]: those of these rows of the table."""
        name = _MADE_OF[term]
        if folded:
            return take_rows(p[name], rows)
        table = take_rows(p["distances"], rows)
        if self.positions.normed:
            own = {"weight": p["distances_norm.weight"], "bias": p["distances_norm.bias"]}
            table = NORMALISATIONS["layernorm"].apply(table, own, self.architecture.norm_epsilon, ignore)
        if not self.positions.shared:
            return dense(table, p[f"{name}.weight"], p[f"{name}.bias"])
        query, key, _ = (slice(n * self.inner, (n + 1) * self.inner) for n in range(3))
        columns = key if term == "c2p" else query
        return dense(table, p["qkv.weight"][:, columns], p["qkv.bias"][columns])

    def fold_constants(self, own: Own) -> Own:
        """Keys and queries of distances, which are scaled as those of pieces."""
        every = np.arange(2 * self.positions.span)
        made = {_MADE_OF[term]: self._keys(False, own, term, every) for term in self.positions.added}
        makers = self.shapes(False).keys() - super().shapes(False).keys()
        return super().fold_constants({name: value for name, value in own.items() if name not in makers} | made)

    def keeping(self, own: Mapping[str, np.ndarray], units: np.ndarray) -> dict[str, np.ndarray]:
        made = [name for name in own if name.startswith(tuple(f"{made}." for made in _MADE_OF.values()))]
        return super().keeping(own, units) | {name: own[name][..., self.columns_of(units)] for name in made}

    def scale(self, own: Own, columns: Array) -> None:
        super().scale(own, columns)
        own |= {name: own[name] * columns for term in self.positions.added if (name := _MADE_OF[term]) in own}

    def position_bound(self, own: Folded, rows: Rows, head: int) -> float:
        """Of each distance by itself: the longest row times the longest of what it is multiplied with."""
        a, added = self.architecture, super().position_bound(own, rows, head)
        weight, bias = as_read(own["qkv.weight"], rows), own["qkv.bias"]
        columns = slice(head * a.head_size, (head + 1) * a.head_size)
        for term in self.positions.added:
            start = columns.start + (0 if term == "c2p" else self.inner)
            asks = slice(start, start + a.head_size)
            table = own[_MADE_OF[term]][:, columns].T
            longest = rows.length * np.linalg.norm(weight[:, asks] @ table, axis=0) + np.abs(bias[asks] @ table)
            added += float(longest.max())
        return added
