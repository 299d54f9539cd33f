"""Workers of all ranks on one machine, for benchmarks and tests: every call is made at all of them at once."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...model import Architecture, fold, prepare_inputs
from ...model.answers import Output
from ..lookup.form import PIECES, Form, in_keys, keys_share
from ..lookup.published_table import put_published
from ..records import StageRecord
from ..sharing.share_files import write_share
from ..sharing.shares import Share, reconstruct, share
from .worker import RunResult, Worker, WorkerConfig

T = TypeVar("T")
Own = TypeVar("Own", bound="Together")


class Together(contextlib.ExitStack):
    """Workers by rank, and what owners do to use them; their processes end with the context."""

    def __init__(self, configs: Sequence[WorkerConfig]) -> None:
        super().__init__()
        self.workers = [Worker(config) for config in configs]
        self._architecture: Architecture | None = None
        self.settings, self._lookup = configs[0].settings, configs[0].lookup
        self._threads = self.enter_context(ThreadPoolExecutor(len(configs)))
        self.callback(self._kill)

    def _kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    def each(self, call: Callable[[int, Worker], T]) -> list[T]:
        """The results by rank; the first exception by rank is raised once all are done."""
        futures = [self._threads.submit(call, rank, worker) for rank, worker in enumerate(self.workers)]
        _ = [future.exception() for future in futures]
        return [future.result() for future in futures]

    def join(self: Own) -> Own:
        """Start and connect all."""
        self.each(lambda rank, worker: worker.start())
        self.each(lambda rank, worker: worker.connect())
        return self

    def share(self, array: np.ndarray) -> list[Share]:
        """Shares by rank."""
        return share(array, self.settings)

    def answer(self, results: Sequence[RunResult]) -> np.ndarray:
        """What the data owner reads."""
        return reconstruct([result.output for result in results], self.settings)

    def load(
        self,
        directory: Path,
        architecture: Architecture,
        parameters: Mapping[str, Mapping[str, Any]],
        output: Output = "logits",
        model_id: str = "m",
    ) -> list[Path]:
        """Share a model, to places of this upload's own under `directory`, and load it from there."""
        self._architecture, upload = architecture, secrets.token_hex(4)
        places = [directory / f"upload-{upload}-{rank}" for rank in range(len(self.workers))]
        for stage, own in fold(architecture, parameters).items():
            for name, value in own.items():
                for place, part in zip(places, self.share(np.asarray(value)), strict=True):
                    write_share(place, stage, name, part)
        if architecture.embedding == "public":
            for place in places:
                put_published(np.asarray(parameters["embedding"]["word"]), place)
        self.each(lambda rank, worker: worker.load(architecture, output, places[rank], model_id))
        return places

    def inputs(self, read: np.ndarray, mask: np.ndarray, table: np.ndarray | None = None) -> list[dict[str, Share]]:
        """A request's shares by rank, for the model that was loaded."""
        assert self._architecture is not None
        if in_keys(self._architecture, self._lookup):
            form, texts = Form.of(self._architecture, read.shape[1]), len(read)
            return [{PIECES: keys_share(content, texts)} for content in form.write(read, mask)]
        by_rank: list[dict[str, Share]] = [{} for _ in self.workers]
        for name, array in prepare_inputs(self._architecture, read, mask, table=table).items():
            for own, part in zip(by_rank, self.share(array), strict=True):
                own[name] = part
        return by_rank

    def run(
        self,
        inputs: Sequence[Mapping[str, Share | tuple[Share, ...]]],
        batch: int,
        length: int,
        on_stage: Callable[[int, StageRecord], None] = lambda rank, record: None,
        request_id: str = "",
        **more: Any,
    ) -> list[RunResult]:
        """One request."""
        request_id = request_id or secrets.token_hex(8)
        return self.each(
            lambda rank, worker: worker.run(
                request_id, batch, length, inputs[rank], on_stage=lambda record: on_stage(rank, record), **more
            )
        )
