"""Scores by content and by distance, apart from each other: He et al. 2021 (DeBERTa), section 3.1 and equation 4.

Beside q k^T there are q times a key of the distance (content to position, `c2p`), and k times a query of the distance
(position to content, `p2c`). Keys and queries of distances are made of a table of their own, which is secret; which of
its rows two places have is public.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...later import jax, jnp


class Disentangled(BaseModel):
    """How scores depend on distance; of the published configuration `terms` are `pos_att_type`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    terms: tuple[Literal["c2p", "p2c"], ...] = Field(default=(), max_length=2)
    span: int = Field(ge=0, le=1 << 14, description="distances either way that have a row; 0: the terms only scale")
    buckets: int = Field(default=0, ge=0, le=1 << 14, description="beyond half of these, rows grow logarithmically")
    farthest: int = Field(default=0, ge=0, le=1 << 14, description="the distance that the last bucket is for")
    shared: bool = Field(default=False, description="keys and queries of distances are made as those of pieces are")
    normed: bool = Field(default=False, description="the table has a LayerNorm")

    @model_validator(mode="after")
    def _consistent(self) -> Disentangled:
        if len(set(self.terms)) < len(self.terms):
            raise ValueError("terms: one is there twice")
        if self.buckets and (self.buckets < 2 or self.farthest < 2 or self.farthest - 1 == self.buckets // 2):
            raise ValueError("buckets: at least 2, and the last but one of all distances is not half of them")
        return self

    @property
    def added(self) -> tuple[str, ...]:
        """The terms that the scores have; without a table there are none."""
        return self.terms if self.span else ()

    @property
    def widening(self) -> int:
        """How many times as large the scores' squares are: they are divided by the root of that, too."""
        return 1 + len(self.terms)

    def rows_of(self, distance: np.ndarray) -> np.ndarray:
        """The table's row for each distance (query's place less key's): one each up to half of the buckets, then
        logarithmically wider ranges; what lies outside the table has its first or last row.
        """
        found = distance
        if self.buckets:
            half = self.buckets // 2
            far = np.maximum(np.abs(distance), half).astype(np.float32)
            wide = np.log(far / np.float32(half)) / np.log(np.float32((self.farthest - 1) / half)) * (half - 1)
            found = np.where(np.abs(distance) <= half, distance, np.sign(distance) * (np.ceil(wide) + half))
        rows: np.ndarray = np.clip(found.astype(np.int64) + self.span, 0, 2 * self.span - 1)
        return rows


def ascending(length: int) -> np.ndarray:
    """The distances between places, and one that nothing reads: -(length - 1), ..., length - 1, length."""
    return np.arange(1 - length, length + 1)


def take_rows(table: jax.Array, rows: np.ndarray) -> jax.Array:
    """The rows [n, width] of a secret table that public numbers [n] name: slices, forwards or backwards, and repeats,
    which cost a secure run no message.
    """
    parts: list[jax.Array] = []
    for first, step, count in _runs(rows.tolist()):
        low, high = sorted((first, first + step * (count - 1)))
        part = jax.lax.slice_in_dim(table, low, high + 1)
        if step == 0:
            part = jnp.broadcast_to(part, (count, table.shape[1]))
        parts.append(jax.lax.rev(part, (0,)) if step < 0 else part)
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def _runs(numbers: list[int]) -> list[tuple[int, int, int]]:
    """First number, step (-1, 0 or 1) and length of runs."""
    runs = [(numbers[0], 0, 1)]
    for before, number in pairwise(numbers):
        first, step, count = runs[-1]
        if count == 1 and abs(number - before) <= 1:
            runs[-1] = (first, number - before, 2)
        elif number - before == step:
            runs[-1] = (first, step, count + 1)
        else:
            runs.append((number, 0, 1))
    return runs


def at_places(products: jax.Array) -> jax.Array:
    """From [..., length, 2 length], by place and by `ascending` distance of another place from it, to
    [..., length, length], by both places.

    Each row is to begin one further left than the one before. A line of all rows that is cut into rows one shorter
    does that (Dai et al. 2019, appendix B): rearrangements, which cost a secure run no message.
    """
    *others, length, twice = products.shape
    line = products.reshape(*others, length * twice)
    line = jax.lax.slice_in_dim(line, length - 1, length - 1 + length * (twice - 1), axis=-1)
    return jax.lax.slice_in_dim(line.reshape(*others, length, twice - 1), 0, length, axis=-1)
