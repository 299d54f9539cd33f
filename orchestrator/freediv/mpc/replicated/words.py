"""What a party does by itself with the words that it holds: linear operations, and its summand of a product.

An array of a shared value has one axis more than the value, in front: the two words (x_i, x_i+1) of a replicated share,
x = x_0 + x_1 + x_2 mod 2^64, or the one summand z_i of a value that is the sum over the parties (the form of a product
before it is shared again). Linear operations act on every word alike.

**One multiplication.** Multiplying replicated shares word by word takes each party two products, x_i (y_i + y_i+1) +
x_i+1 y_i (Araki et al., CCS 2016). One will do: with r = x_2 - x_0 the parties hold x - r = 2 x_0 + x_1 (party 0),
x + r = x_1 + 2 x_2 (party 1) and r (party 2), Shamir's shares of x at -1, 1 and infinity on the line x + r t, and with
s for y
    (x - r) (y - s) + (x + r) (y + s) - 2 r s = 2 x y,
so that each computes one product of what it holds, and all three add up to twice the result. The factor is one bit
that truncation drops with the others; it costs one bit of room above (|x y| < 2^61). Shamir's shares from replicated
ones without a message: Cramer, Damgard and Ishai, TCC 2005; leaving the 2 undivided is what makes it work mod 2^64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .products import MatrixProducts, Packed, Words

DotDimensionNumbers: TypeAlias = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]
"""Of `jax.lax.dot_general`: dimensions to sum over, and batch dimensions, each of left and right."""


def encode(array: np.ndarray, bits: int) -> Words:
    """Public numbers as ring elements with so many fraction bits."""
    return np.asarray(np.rint(np.asarray(array, np.float64) * 2.0**bits).astype(np.int64).view(np.uint64))


def lift(ring: Words, planes: int, rank: int) -> Words:
    """This party's words of a public value: it lies in word 0, the others are 0."""
    lifted = np.zeros((planes, *ring.shape), np.uint64)
    for plane in range(planes):
        if (rank + plane) % 3 == 0:
            lifted[plane] = ring
    return lifted


def to_summand(words: Words, shift: int) -> Words:
    """A replicated share, or a summand, as a summand with `shift` fraction bits more."""
    return words[:1] << np.uint64(shift)


def times(words: Words, factor: Words) -> Words:
    """A value times public integers."""
    wider = [1] * (factor.ndim - words.ndim + 1)
    return np.asarray(words.reshape(len(words), *wider, *words.shape[1:]) * factor)


def point(words: Words | Sequence[Words], rank: int) -> Words:
    """Shamir's share of a replicated share: [2, *shape] -> [*shape]."""
    first, second = words
    if rank == 2:
        return np.asarray(np.subtract(first, second))
    return np.asarray(np.add(np.add(first, second), words[rank]))


def _weigh(product: Words, rank: int) -> Words:
    """A product of points as a summand of twice the product."""
    return np.asarray(np.multiply(product, np.uint64(2**64 - 2)) if rank == 2 else product)[None]


def product(x: Words, y: Words, rank: int) -> Words:
    """The summand of twice an element-wise product."""
    return _weigh(np.multiply(point(x, rank), point(y, rank)), rank)


def square(x: Words, rank: int) -> Words:
    """The summand of twice x^2."""
    own = point(x, rank)
    return _weigh(np.multiply(own, own), rank)


def pack(products: MatrixProducts, words: Sequence[Words], rank: int) -> Packed:
    """A replicated matrix, two words [inner, columns], as the right-hand side of products: half the room."""
    return products.pack(point(words, rank)[None])


def matrix_product(
    x: Words, y: Words | Packed, rank: int, products: MatrixProducts, dimension_numbers: DotDimensionNumbers
) -> Words:
    """The summand of twice `jax.lax.dot_general`; `Packed` stands for a matrix whose first dimension is contracted."""
    (left_sum, right_sum), (left_batch, right_batch) = dimension_numbers
    left, kept = _canonical(point(x, rank), left_batch, left_sum, last=True)
    columns: tuple[int, ...]
    if isinstance(y, Packed):
        right, columns = y, (y.columns,)
    else:
        folded, columns = _canonical(point(y, rank), right_batch, right_sum, last=False)
        right = products.pack(folded)
    batch = tuple(x.shape[1 + d] for d in left_batch)
    return _weigh(products.multiply(left, right).reshape(*batch, *kept, *columns), rank)


def _canonical(
    array: Words, batch: Sequence[int], summed: Sequence[int], *, last: bool
) -> tuple[Words, tuple[int, ...]]:
    """[batch, rows, inner] (`last`) or [batch, inner, columns], and the shape of rows or columns."""
    kept = [d for d in range(array.ndim) if d not in (*batch, *summed)]
    order = [*batch, *kept, *summed] if last else [*batch, *summed, *kept]
    b, k, s = (math.prod(array.shape[d] for d in dims) for dims in (batch, kept, summed))
    return array.transpose(order).reshape(b, *((k, s) if last else (s, k))), tuple(array.shape[d] for d in kept)


def _broadcast(words: Words, *, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: Any) -> Words:
    own = dict(zip(broadcast_dimensions, words.shape[1:], strict=True))
    narrow = words.reshape(words.shape[0], *(own.get(d, 1) for d in range(len(shape))))
    return np.broadcast_to(narrow, (words.shape[0], *shape))


def _slice(
    words: Words, *, start_indices: Sequence[int], limit_indices: Sequence[int], strides: Sequence[int] | None, **_: Any
) -> Words:
    steps = strides or [1] * len(start_indices)
    return words[(slice(None), *(slice(*s) for s in zip(start_indices, limit_indices, steps, strict=True)))]


def _same_rank(x: Words, y: Words) -> tuple[Words, Words]:
    """Scalars may stand beside arrays."""
    rank = max(x.ndim, y.ndim)
    x, y = (w if w.ndim == rank else w.reshape(len(w), *[1] * (rank - 1)) for w in (x, y))
    return x, y


LINEAR: Mapping[str, Callable[..., Words]] = {
    "add": lambda x, y, **_: np.add(*_same_rank(x, y)),
    "add_any": lambda x, y, **_: np.add(*_same_rank(x, y)),
    "sub": lambda x, y, **_: np.subtract(*_same_rank(x, y)),
    "neg": lambda x, **_: np.uint64(0) - x,
    "copy": lambda x, **_: x,
    "convert_element_type": lambda x, **_: x,
    "reshape": lambda x, new_sizes, **_: x.reshape(x.shape[0], *new_sizes),
    "transpose": lambda x, permutation, **_: x.transpose(0, *(1 + d for d in permutation)),
    "squeeze": lambda x, dimensions, **_: np.squeeze(x, tuple(1 + d % (x.ndim - 1) for d in dimensions)),
    "expand_dims": lambda x, dimensions, **_: np.expand_dims(x, tuple(1 + d for d in dimensions)),
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "rev": lambda x, dimensions, **_: np.flip(x, tuple(1 + d for d in dimensions)),
    "concatenate": lambda *parts, dimension, **_: np.concatenate(parts, 1 + dimension),
    "reduce_sum": lambda x, axes, **_: x.sum(tuple(1 + a for a in axes), dtype=np.uint64),
}
"""JAX's primitives that are linear: (arrays of words, the primitive's parameters) -> array of words."""
