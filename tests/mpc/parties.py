"""Real workers on this machine, and what an owner does to use them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import tiny
from freediv.cluster.ports import free_ports
from freediv.model import Architecture, initial_parameters
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.worker.together import Together
from freediv.mpc.worker.worker import Worker, WorkerConfig

T = TypeVar("T")
SECRET = bytes(range(16))
"""Of links that a test puts together from single workers."""


def free_addresses(count: int) -> list[str]:
    """Addresses on this machine that nobody listens on."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


architecture = partial(tiny.architecture, hidden=32, intermediate=64, positions=64)


class Parties(Together):
    """Workers at free addresses, with settings of a test."""

    def __init__(
        self,
        addresses: list[str] | None = None,
        *,
        settings: ProtocolSettings = ProtocolSettings(),
        secret: bytes = SECRET,
        **more: Any,
    ) -> None:
        self.addresses = addresses or free_addresses(settings.parties)
        peers = tuple((f"party-{rank}", address) for rank, address in enumerate(self.addresses))
        super().__init__([WorkerConfig(rank, peers, secret, settings, **more) for rank in range(len(peers))])

    def outcomes(self, call: Callable[[int, Worker], T]) -> list[T | Exception]:
        """As `each`, with exceptions in place of results."""

        def caught(rank: int, worker: Worker) -> T | Exception:
            try:
                return call(rank, worker)
            except Exception as error:
                return error

        return self.each(caught)

    def predict(self, token_ids: Any, mask: Any, table: Any = None) -> np.ndarray:
        """The answer to a request."""
        return self.answer(self.run(self.inputs(token_ids, mask, table), *np.shape(mask)))


def random_parameters(model: Architecture, seed: int = 7) -> dict[str, dict[str, np.ndarray]]:
    """Random, and large enough that sentences get clearly different logits, of about 1."""
    parameters = initial_parameters(model, seed=seed, scale=0.12)
    if "weight" in parameters["classifier"]:
        parameters["classifier"]["weight"] *= 8
    return parameters


def sentences(vocabulary: int, batch: int = 2, length: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random token ids and masks [batch, length], sentences of different lengths."""
    random = np.random.default_rng(seed)
    mask = np.zeros((batch, length), np.int64)
    for row in range(batch):
        mask[row, : length - 3 * row - 1] = 1
    return random.integers(1, vocabulary, (batch, length)) * mask, mask
