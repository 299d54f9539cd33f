"""Three parties in one process, each in a thread, on SPU's in-memory link."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
from freediv.mpc.replicated.protocol import Replicated
from spu import libspu

Result = TypeVar("Result")
_names = itertools.count()
RANKS = range(3)


def together(*actions: Callable[[], Result]) -> list[Result]:
    """Run actions at once; their results, or the first exception of any."""
    results: list[Any] = [None] * len(actions)
    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            results[i] = actions[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def make_links(timeout_ms: int = 60_000) -> list[Any]:
    """One link context a party, of a new link."""
    name = f"test {next(_names)}"

    def make(rank: int) -> Any:
        desc = libspu.link.Desc()
        desc.id, desc.recv_timeout_ms = name, timeout_ms
        for i in RANKS:
            desc.add_party(f"party {i}", f"thread:{i}")
        return libspu.link.create_mem(desc, rank)

    return together(*(lambda rank=rank: make(rank) for rank in RANKS))


class Parties:
    """Three ends of the protocol."""

    def __init__(self, links: list[Any] | None = None) -> None:
        self.links = links or make_links()
        self.ends = together(*(lambda link=link: Replicated(link) for link in self.links))

    def truncate(self, arrays: list[np.ndarray], shifts: list[int], seed: int = 0) -> list[list[np.ndarray]]:
        """Share int64 arrays as summands, and truncate; for each party its results."""
        rng = np.random.default_rng(seed)
        shared = [split(a, rng) for a in arrays]
        return together(*(lambda i=i: self.ends[i].truncate([s[i] for s in shared], shifts) for i in RANKS))


def split(array: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Three words that add up to int64 numbers mod 2^64."""
    masks = [rng.integers(0, 2**64, array.shape, dtype=np.uint64) for _ in range(2)]
    return [array.astype(np.int64).view(np.uint64) - masks[0] - masks[1], *masks]


def join(results: list[np.ndarray]) -> np.ndarray:
    """The numbers that three parties' [2, *shape] words stand for; fails if what two hold in common differs."""
    for i in RANKS:
        np.testing.assert_array_equal(results[i][1], results[(i + 1) % 3][0])
    return np.sum([held[0] for held in results], axis=0, dtype=np.uint64).view(np.int64)


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties()
