"""Fewer rows: neighbours become their mean, by weights that came with the text (`functions.pooling`)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from ...later import Array
from ..architecture import Architecture
from ..functions.norms import Normalisation, Observe, ignore
from ..functions.pooling import Pool, weights_name
from ..stage import Dropout, Shape, keep
from .block import Block, Bound, Folded, NormWeight, Own, Rows


class Pooling(Block):
    """What follows a layer after which rows become fewer. It has no parameters and no norm: that of the rows which it
    reads is handed on, as weights of a mean add up to one.
    """

    kind = "pooling"

    def __init__(self, architecture: Architecture, layer: int, before: str) -> None:
        super().__init__(architecture, layer, before)
        pool = architecture.size_of(layer).pool
        assert pool is not None
        self.pool: Pool = pool

    def inputs(self) -> tuple[str, ...]:
        return ("hidden", weights_name(self.left_pools))

    def shapes(self, folded: bool) -> dict[str, Shape]:
        return {}

    def variant(self) -> tuple[Hashable, ...]:
        return (self.pool,)

    def apply(
        self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        hidden, weights = inputs
        return self.pool.apply(hidden, weights)

    def fold(self, own: Own, before: NormWeight | None) -> Own:
        return own

    @property
    def left_pools(self) -> tuple[Pool, ...]:
        return (*self.pools, self.pool)

    @property
    def after(self) -> Normalisation:
        return self.before

    def hand_over(self, own: Own, before: NormWeight | None) -> NormWeight | None:
        """What it was handed."""
        return before

    def bound(self, own: Folded, rows: Rows) -> Bound:
        """A mean of rows is no longer than the longest, and has no mean where they have none."""
        return Bound(rows.length, 0.0, rows)
