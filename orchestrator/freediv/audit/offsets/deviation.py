"""The same network in three parties' hands, one of which deviates: it adds offsets to its summands.

Shares are replicated, and products and truncations are the ones that deployments run (`mpc/replicated`); rectifiers and
the last comparison, which SPU computes there, are an ideal box here, whose result is shared again by the same protocol.
Parties are semi-honest by the threat model: nothing in it finds an offset that one adds to a summand before that is
truncated, as the truncation's result is a sharing like any other. What a data owner compares, words that two parties
hold, is the same at both.

So a data owner who is in league with one such party has the handle that SEEK needs.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ...mpc.replicated.products import MatrixProducts
from ...mpc.replicated.protocol import Replicated
from ...mpc.replicated.words import matrix_product
from .hybrid import Network, Ring

T = TypeVar("T")
_RANKS = range(3)
_DEVIATING = 1
_WAIT_S = 60.0
_ROWS_TIMES_COLUMNS = (((1,), (0,)), ((), ()))


class _End:
    """One party's end of a link within a process."""

    world_size = 3

    def __init__(self, rank: int, queues: dict[tuple[int, int], queue.SimpleQueue[bytes]]) -> None:
        self.rank, self._queues = rank, queues

    def send_async(self, rank: int, message: bytes) -> None:
        """As SPU's links have it."""
        self._queues[self.rank, rank].put(message)

    def recv(self, rank: int) -> bytes:
        """As SPU's links have it."""
        return self._queues[rank, self.rank].get(timeout=_WAIT_S)


class DeviatingParty:
    """Three parties in threads, and a data owner who tells one of them what to add; a `Handle`.

    Attributes:
        noticed: of how many queries the words that two parties hold differed.
    """

    def __init__(self, network: Network, seed: int) -> None:
        self._network, self._random = network, np.random.default_rng(seed)
        self.widths, self.bits, self.queries, self.noticed = network.widths, network.bits, 0, 0
        queues: dict[tuple[int, int], queue.SimpleQueue[bytes]] = {
            (i, j): queue.SimpleQueue() for i in _RANKS for j in _RANKS
        }
        self._threads = ThreadPoolExecutor(3)
        self._parties: list[Replicated] = self._each(lambda rank: Replicated(_End(rank, queues)))
        self._products = MatrixProducts()
        self._weights = [self._share(weight) for weight in network.weights]
        self._biases = [self._split(bias) for bias in network.biases]

    def __enter__(self) -> DeviatingParty:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def ask(self, x: Ring, before: Sequence[Ring], after: Sequence[Ring]) -> np.ndarray:
        """As `Handle` has it."""
        self.queries += len(x)
        held = self._share(x)
        for layer in range(len(self._network.weights)):
            one = np.uint64(1)  # a product's summands add up to twice the product, a bias joins them as they are
            summands = [
                matrix_product(held[rank], self._weights[layer][rank], rank, self._products, _ROWS_TIMES_COLUMNS)[0]
                + (self._biases[layer][rank] << one)
                for rank in _RANKS
            ]
            held = self._truncate(summands, before[layer], self.bits + 1)
            z = self._join(held)  # within the ideal box
            if layer + 1 == len(self._network.weights):
                return z.view(np.int64).argmax(axis=1)
            h = np.maximum(z.view(np.int64), 0).view(np.uint64)
            held = self._truncate(self._split(h << one), after[layer], 1)
        raise AssertionError("a network has a last layer")

    def _truncate(self, summands: list[Ring], offset: Ring, shift: int) -> list[Ring]:
        """What all hold of the truncated sum, to which the deviating party adds its offset."""
        summands[_DEVIATING] = summands[_DEVIATING] + (offset << np.uint64(shift))
        return self._each(lambda rank: self._parties[rank].truncate([summands[rank]], [shift])[0])

    def _join(self, held: Sequence[Ring]) -> Ring:
        differ = np.zeros(len(held[0][0]), bool)
        for rank in _RANKS:
            differ |= (held[rank][1] != held[(rank + 1) % 3][0]).any(axis=1)
        self.noticed += int(differ.sum())
        return held[0][0] + held[1][0] + held[2][0]

    def _split(self, values: Ring) -> list[Ring]:
        """Three words that add up to the values."""
        drawn = [self._random.integers(0, 2**64, values.shape, dtype=np.uint64) for _ in range(2)]
        return [values - drawn[0] - drawn[1], *drawn]

    def _share(self, values: Ring) -> list[Ring]:
        """Of each party its two words, [2, *shape]."""
        words = self._split(values)
        return [np.stack([words[rank], words[(rank + 1) % 3]]) for rank in _RANKS]

    def _each(self, call: Callable[[int], T]) -> list[Any]:
        return list(self._threads.map(call, _RANKS))
