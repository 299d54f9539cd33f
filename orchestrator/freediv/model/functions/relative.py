"""A bias of the scores by how far apart two pieces are: Raffel et al. 2020 (T5), section 2.1, as MPNet has it."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np

from ...later import jax, jnp

MAX_DISTANCE = 128
"""Pieces further apart than this share a bucket."""


def bucket_of(distance: np.ndarray, count: int) -> np.ndarray:
    """The bucket, of `count`, of each distance (key's place less query's).

    Half of them for keys after the query; of each half, the first half for one distance each, and the rest for
    logarithmically wider ranges.
    """
    half = count // 2
    exact = half // 2
    far = np.abs(distance)
    wide = np.log(np.maximum(far, 1) / exact, dtype=np.float32) / math.log(MAX_DISTANCE / exact) * (half - exact)
    bucket = np.where(far < exact, far, np.minimum(exact + wide.astype(np.int64), half - 1))
    return bucket + half * (distance > 0)


def score_bias(table: jax.Array, length: int, apart: int = 1) -> jax.Array:
    """The bias [heads, length, length] of queries and keys, so many pieces `apart`, from its table [buckets, heads].

    Places are public, the table is not. Only rearrangements, which cost a secure run no message: rows of the table for
    all distances, written one after another in a line that is one too long for a row, so that each row is shifted.
    """
    buckets, heads = table.shape
    # Distances 0, 1, ..., length - 1, one that nothing reads, and -(length - 1), ..., -1.
    places = np.arange(2 * length)
    line = bucket_of(apart * np.where(places < length, places, places - 2 * length), buckets)
    runs = [(bucket, len(list(same))) for bucket, same in groupby(line.tolist())]
    rows = jnp.concatenate([jnp.broadcast_to(table[b : b + 1], (size, heads)) for b, size in runs])
    lines = jnp.broadcast_to(rows.T[:, None], (heads, length, 2 * length)).reshape(heads, 2 * length**2)
    return lines[:, : length * (2 * length - 1)].reshape(heads, length, 2 * length - 1)[:, :, :length]
