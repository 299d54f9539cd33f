"""Sums that bits choose: of rows of a table mod 2^64, and of elements of the field of 2^64 elements.

Rows are added four at a time: four bits choose one of 16 sums, which are made once for all pieces (Arlazarov, Dinic,
Kronrod and Faradzhev, 1970). No multiplication is left.
"""

from __future__ import annotations

import numpy as np

from ..replicated.products import Words, compiled
from .point_functions import Bits

_WIDTH = 32  # columns at a time: the sums of 32 rows stay in the first-level cache
_NIBBLES = 8  # four rows each, of which 16 sums can be chosen
_REDUCTION = 0x1B  # x^64 = x^4 + x^3 + x + 1


def chosen_rows(bits: Bits, table: Words, result: Words, first: int, last: int) -> None:
    """Add to columns `first` to `last` of the result the rows of a table that bits choose, mod 2^64.

    Args:
        bits: [count, words], 1 for a row that is added.
        table: uint64 [rows, columns]; bits beyond its rows choose nothing.
        result: uint64 [count, columns].
        first, last: columns.
    """
    _chosen_rows(bits.view(np.uint8), table, result, first, last)


@compiled
def _chosen_rows(octets: np.ndarray, table: Words, result: Words, first: int, last: int) -> None:
    rows, count = table.shape[0], octets.shape[0]
    sums, tile = np.zeros((_NIBBLES * 16, _WIDTH), np.uint64), np.empty((count, _WIDTH), np.uint64)
    block = np.zeros((4 * _NIBBLES, _WIDTH), np.uint64)
    for begin in range(first, last, _WIDTH):
        width = min(_WIDTH, last - begin)
        tile[:, :] = 0
        for start in range(0, rows, 4 * _NIBBLES):
            for row in range(4 * _NIBBLES):
                for j in range(width):
                    block[row, j] = table[start + row, begin + j] if start + row < rows else np.uint64(0)
            _spread(block, sums)
            _choose(octets, start // 8, sums, tile)
        for i in range(count):
            for j in range(width):
                result[i, begin + j] += tile[i, j]


@compiled
def _spread(block: Words, sums: Words) -> None:
    """The 16 sums of each four rows."""
    for n in range(_NIBBLES):
        r, s = 4 * n, 16 * n
        for j in range(_WIDTH):
            a, b, c, d = block[r, j], block[r + 1, j], block[r + 2, j], block[r + 3, j]
            ab, cd = a + b, c + d
            sums[s + 1, j], sums[s + 2, j], sums[s + 3, j] = a, b, ab
            sums[s + 4, j], sums[s + 5, j], sums[s + 6, j], sums[s + 7, j] = c, a + c, b + c, ab + c
            sums[s + 8, j], sums[s + 9, j], sums[s + 10, j], sums[s + 11, j] = d, a + d, b + d, ab + d
            sums[s + 12, j], sums[s + 13, j], sums[s + 14, j], sums[s + 15, j] = cd, a + cd, b + cd, ab + cd


@compiled
def _choose(octets: np.ndarray, at: int, sums: Words, tile: Words) -> None:
    """Four octets of each row of bits choose from the sums of eight times four rows."""
    last = octets.shape[1] - 1
    for i in range(tile.shape[0]):
        b0, b1 = octets[i, at], octets[i, min(at + 1, last)]
        b2, b3 = octets[i, min(at + 2, last)], octets[i, min(at + 3, last)]
        # (indices without a sign, and no views of rows, which LLVM would not vectorise)
        r0, r1, r2, r3 = np.uintp(b0 & 15), np.uintp(16 + (b0 >> 4)), np.uintp(32 + (b1 & 15)), np.uintp(48 + (b1 >> 4))
        r4, r5, r6, r7 = (
            np.uintp(64 + (b2 & 15)),
            np.uintp(80 + (b2 >> 4)),
            np.uintp(96 + (b3 & 15)),
            np.uintp(112 + (b3 >> 4)),
        )
        for j in range(_WIDTH):
            tile[i, j] += (
                sums[r0, j]
                + sums[r1, j]
                + sums[r2, j]
                + sums[r3, j]
                + sums[r4, j]
                + sums[r5, j]
                + sums[r6, j]
                + sums[r7, j]
            )


@compiled
def ones(bits: Bits) -> np.ndarray:
    """How many bits are 1 in each row, int64 [count]."""
    found = np.zeros(bits.shape[0], np.int64)
    for i in range(bits.shape[0]):
        for word in bits[i]:
            left = word
            while left:
                left &= left - np.uint64(1)
                found[i] += 1
    return found


@compiled
def chosen_elements(bits: Bits, elements: Words) -> Words:
    """The sum of the field's elements that bits choose, uint64 [count]; bits beyond them choose nothing."""
    count, size = bits.shape[0], elements.size
    found = np.zeros(count, np.uint64)
    for w in range((size + 63) // 64):
        some = min(64, size - 64 * w)
        for i in range(count):
            word, total = bits[i, w], np.uint64(0)
            for k in range(some):
                total ^= elements[64 * w + k] & (np.uint64(0) - ((word >> np.uint64(k)) & np.uint64(1)))
            found[i] ^= total
    return found


@compiled
def _times(x: Words, y: Words, out: Words) -> None:
    for i in range(x.size):
        a, b, total = x[i], y[i], np.uint64(0)
        for _ in range(64):
            total ^= a & (np.uint64(0) - (b & np.uint64(1)))
            b >>= np.uint64(1)
            a = (a << np.uint64(1)) ^ (np.uint64(_REDUCTION) & (np.uint64(0) - (a >> np.uint64(63))))
        out[i] = total


def times(x: Words, y: Words) -> Words:
    """The product of elements of the field of 2^64, polynomials over bits modulo x^64 + x^4 + x^3 + x + 1."""
    x, y = np.broadcast_arrays(np.asarray(x, np.uint64), np.asarray(y, np.uint64))
    out = np.empty(x.shape, np.uint64)
    _times(np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(y).reshape(-1), out.reshape(-1))
    return out


def cubes(x: Words) -> Words:
    """x^3 of elements of the field."""
    return times(times(x, x), x)


def total(x: Words) -> np.uint64:
    """The sum of elements of the field."""
    return np.uint64(np.bitwise_xor.reduce(np.ascontiguousarray(x, np.uint64).reshape(-1)))


def compile_ahead() -> None:
    """Compile all of it, or read it from disk, so that no request has to wait for that."""
    nothing, kept = np.zeros((1, 1), np.uint64), np.zeros((1, 1), np.uint64)
    kept.flags.writeable = False  # as words are that were read from disk
    for table in (nothing, kept):
        chosen_rows(nothing, table, nothing.copy(), 0, 1)
    ones(nothing)
    chosen_elements(nothing, nothing[0])
    cubes(nothing)
