"""Fewer rows after a layer: neighbouring rows become their mean, as in Funnel-Transformer (Dai et al. 2020, section 2).

Which rows become one is public, and how many of them are real is not: a mean is over real pieces, by weights
m_i / (m_1 + ... + m_k) of a row's mask m, which come with the text. So it is linear, costs a secure run one product by
secret weights, and no row that comes out is longer than those that went in. A group without a real piece becomes a row
of zeros, which is hidden from all others. The first row, which stands for the text, may stay as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...later import Array, jnp

Rows = TypeVar("Rows", np.ndarray, Array)


class Pool(BaseModel):
    """How rows become fewer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int = Field(ge=2, le=64, description="neighbours that become one")
    first_apart: bool = Field(default=True, description="the first row stays as it is, and groups begin after it")

    def length(self, length: int) -> int:
        """How many rows are left of so many."""
        apart = min(length, self.first_apart)
        return apart + -(-(length - apart) // self.rows)

    def mask(self, mask: Rows) -> Rows:
        """The mask [batch, rows left] of a mask [batch, length]: that of a group's largest."""
        first, groups = self._grouped(mask)
        return _joined([first, groups.max(axis=2)])

    def weights(self, mask: Rows) -> Rows:
        """What each row counts [batch, length], of their mask: in a group that has any, they add up to one."""
        first, groups = self._grouped(mask)
        total = groups.sum(axis=2, keepdims=True)
        means = (groups / (total + (total == 0))).reshape(len(mask), -1)
        return _joined([first, means])[:, : mask.shape[1]]

    def apply(self, hidden: Rows, weights: Rows) -> Rows:
        """Rows [batch, rows left, width] of rows [batch, length, width] and their weights [batch, length]."""
        apart = hidden[:, : self.first_apart]
        _, groups = self._grouped(hidden)
        _, counts = self._grouped(weights)
        return _joined([apart, (groups * counts[..., None]).sum(axis=2)])

    def _grouped(self, x: Rows) -> tuple[Rows, Rows]:
        """What stays apart [batch, 0 or 1, ...], and groups [batch, groups, rows, ...] of the rest and zeros."""
        batch, length, *others = x.shape
        apart = min(length, self.first_apart)
        missing = (apart - length) % self.rows
        rest = x[:, apart:]
        if missing:
            filled = (np if isinstance(x, np.ndarray) else jnp).zeros((batch, missing, *others), x.dtype)
            rest = _joined([rest, filled])
        return x[:, :apart], rest.reshape(batch, rest.shape[1] // self.rows, self.rows, *others)


def _joined(parts: Sequence[Rows]) -> Rows:
    """One after another along the rows; what is empty is left out."""
    some = [part for part in parts if part.shape[1]]
    if len(some) < 2:
        return (some or list(parts))[0]
    joined: Rows = (np if isinstance(some[0], np.ndarray) else jnp).concatenate(some, axis=1)
    return joined


def rows_left(pools: Sequence[Pool], length: int) -> int:
    """How many rows are left of a text so long."""
    for pool in pools:
        length = pool.length(length)
    return length


def pieces_a_row(pools: Sequence[Pool]) -> int:
    """How many pieces of a text a row stands for; the distance between two neighbours."""
    found = 1
    for pool in pools:
        found *= pool.rows
    return found


def pooled(pools: Sequence[Pool], hidden: Rows, mask: Rows) -> tuple[Rows, Rows]:
    """Rows [batch, length, width] after all pools, and their mask."""
    for pool in pools:
        hidden, mask = pool.apply(hidden, pool.weights(mask)), pool.mask(mask)
    return hidden, mask


def of_pooled(name: str, pools: Sequence[Pool]) -> str:
    """What an activation is called that is of rows which were pooled so."""
    return f"{name}.{len(pools)}" if pools else name


def weights_name(pools: Sequence[Pool]) -> str:
    """What the weights of rows are called whose last pool is the last of these."""
    return f"pooling.{len(pools)}"
