"""Real workers on this machine, and what an owner does to use them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from freediv.roles.ports import free_ports
from freediv.secure import store
from freediv.secure.records import StageRecord
from freediv.secure.shares import Share, reconstruct, share
from freediv.secure.worker import LinkTls, RunResult, Worker, WorkerConfig
from freediv.transformer import Architecture, LayerFunctions, fold, initial_parameters, prepare_inputs

T = TypeVar("T")
Parameters = Mapping[str, Mapping[str, Any]]
_numbers = itertools.count()


def free_addresses(count: int) -> list[str]:
    """Addresses on this machine that nobody listens on."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def architecture(
    layers: int = 2, vocabulary: int = 40, functions: Mapping[str, str] | None = None, **sizes: Any
) -> Any:
    """A small one; `functions` are `LayerFunctions`' fields, for all layers."""
    chosen = LayerFunctions(**{"attention": "2quad-freediv", "activation": "quad", **(functions or {})})
    known = {
        "vocabulary": vocabulary,
        "embedding_size": 32,
        "hidden": 32,
        "layers": layers,
        "heads": 4,
        "intermediate": 64,
        "positions": 64,
        "label_names": ("negative", "positive"),
        "functions": (chosen,) * layers,
    }
    return Architecture(**{**known, **sizes})


class Parties:
    """Workers of all ranks; every call is made at all of them at once, as the protocol wants it."""

    def __init__(
        self,
        addresses: list[str] | None = None,
        *,
        world_size: int = 3,
        tls: list[LinkTls] | None = None,
        recv_timeout_s: float = 60.0,
        **settings: Any,
    ) -> None:
        self.addresses = addresses or free_addresses(world_size)
        self.settings = {"protocol": "ABY3", "field": "FM64", "fraction_bits": 18, "beaver": None, **settings}
        self.architecture: Any = None
        peers = tuple((f"party-{rank}", address) for rank, address in enumerate(self.addresses))
        self.workers = [
            Worker(
                WorkerConfig(
                    rank,
                    peers,
                    tls=tls[rank] if tls else None,
                    recv_timeout_s=recv_timeout_s,
                    **self._worker_settings(),
                )
            )
            for rank in range(len(peers))
        ]
        self._threads = ThreadPoolExecutor(len(peers))

    def _worker_settings(self) -> dict[str, Any]:
        return dict(self.settings)

    def __enter__(self) -> Parties:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.workers:
            worker.kill()
        self._threads.shutdown()

    def each(self, call: Callable[[int, Worker], T]) -> list[T]:
        """The results by rank; the first exception by rank is raised once all are done."""
        futures = [self._threads.submit(call, rank, worker) for rank, worker in enumerate(self.workers)]
        _ = [future.exception() for future in futures]
        return [future.result() for future in futures]

    def outcomes(self, call: Callable[[int, Worker], T]) -> list[T | Exception]:
        """As `each`, with exceptions in place of results."""

        def caught(rank: int, worker: Worker) -> T | Exception:
            try:
                return call(rank, worker)
            except Exception as error:
                return error

        return self.each(caught)

    def join(self) -> Parties:
        """Start and connect all."""
        self.each(lambda rank, worker: worker.start())
        self.each(lambda rank, worker: worker.connect())
        return self

    def share(self, array: Any) -> list[Share]:
        """Shares of an array under these parties' settings."""
        known = {key: self.settings[key] for key in ("protocol", "field", "fraction_bits", "beaver")}
        return share(np.asarray(array), world_size=len(self.workers), **known)

    def load(
        self, directory: Path, model: Architecture, parameters: Parameters, output: str = "logits", model_id: str = "m"
    ) -> list[Path]:
        """Upload a model to the parties' disks, and load it from there."""
        self.architecture = model
        places = [directory / f"upload-{next(_numbers)}-{rank}" for rank in range(len(self.workers))]
        for place in places:
            store.begin(place)
        for stage, own in fold(model, parameters).items():
            for name, value in own.items():
                for place, part in zip(places, self.share(value), strict=True):
                    store.write_share(place, stage, name, part)
        self.each(lambda rank, worker: worker.load(model, output, places[rank], model_id))  # type: ignore[arg-type]
        return places

    def inputs(self, token_ids: Any, mask: Any, table: Any = None) -> list[dict[str, Share]]:
        """A request's shares, by rank."""
        by_rank: list[dict[str, Share]] = [{} for _ in self.workers]
        for name, array in prepare_inputs(self.architecture, token_ids, mask, table=table).items():
            for own, part in zip(by_rank, self.share(array), strict=True):
                own[name] = part
        return by_rank

    def run(
        self,
        inputs: list[dict[str, Share]],
        batch: int,
        length: int,
        on_stage: Callable[[int, StageRecord], None] = lambda rank, record: None,
        request_id: str = "",
        **more: Any,
    ) -> list[RunResult]:
        """One request at all parties."""
        request_id = request_id or f"request-{next(_numbers)}"
        return self.each(
            lambda rank, worker: worker.run(
                request_id, batch, length, inputs[rank], on_stage=lambda record: on_stage(rank, record), **more
            )
        )

    def answer(self, results: list[RunResult]) -> np.ndarray:
        """What the data owner reads."""
        known = {key: self.settings[key] for key in ("protocol", "field", "fraction_bits", "beaver")}
        return reconstruct([result.output for result in results], **known)

    def predict(self, token_ids: Any, mask: Any, table: Any = None) -> np.ndarray:
        """The answer to a request."""
        return self.answer(self.run(self.inputs(token_ids, mask, table), *token_ids.shape))


def random_parameters(model: Architecture, seed: int = 7) -> dict[str, dict[str, np.ndarray]]:
    """Random, and large enough that sentences get clearly different logits, of about 1."""
    parameters = initial_parameters(model, seed=seed, scale=0.12)
    parameters["classifier"]["weight"] *= 8
    return parameters


def sentences(vocabulary: int, batch: int = 2, length: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random token ids and masks [batch, length], sentences of different lengths."""
    random = np.random.default_rng(seed)
    mask = np.zeros((batch, length), np.int64)
    for row in range(batch):
        mask[row, : length - 3 * row - 1] = 1
    return random.integers(1, vocabulary, (batch, length)) * mask, mask
