"""The data owner: shares sentences with the parties, and joins the shares of the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..transformer import Architecture, Text
from . import protocol_pb2_grpc as rpc
from .channels import NotAnswered, channels
from .config import OwnerConfig, read_owner_config
from .identity import read_identity
from .sentences import Batch, make_batches
from .served import ServedModel, fetch_model, model_in_use
from .session import OnProgress, Progress, RequestRecord, Session

__all__ = [
    "Answers",
    "DataOwner",
    "OnProgress",
    "Prediction",
    "Progress",
    "RequestRecord",
    "classify",
    "connect",
    "infer",
]


@dataclass(frozen=True)
class Prediction:
    """One sentence's answer; logits only where the cluster gives them.

    `label` is None, and `name` says so, where one of the sentence's rows was beyond its limit: the model
    could be wrong.
    """

    label: int | None
    name: str
    logits: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Answers:
    """Predictions in the order of the sentences, and what every request cost."""

    predictions: tuple[Prediction, ...]
    requests: tuple[RequestRecord, ...]
    architecture: Architecture


def infer(folder: Path, texts: Sequence[Text], *, on_progress: OnProgress = lambda progress: None) -> Answers:
    """Classify sentences, or pairs of them, privately, with the parties that a data owner's folder names.

    Raises:
        UserError: the folder, a sentence or a party is not as it should be.
    """
    return asyncio.run(classify(read_owner_config(folder), texts, on_progress))


async def classify(
    config: OwnerConfig, texts: Sequence[Text], on_progress: OnProgress = lambda progress: None
) -> Answers:
    """Classify sentences; see `infer`."""
    async with connect(config) as owner:
        return await owner.classify(texts, on_progress)


@contextlib.asynccontextmanager
async def connect(config: OwnerConfig) -> AsyncIterator[DataOwner]:
    """A data owner's connections to all parties, for any number of questions.

    Raises:
        UserError: the certificate cannot be used.
    """
    async with channels(config, read_identity(config)) as opened:
        yield DataOwner(config, [rpc.DataOwnerStub(channel) for channel in opened])  # type: ignore[no-untyped-call]


class DataOwner:
    """Asks all parties about sentences, with the model that they serve at the time."""

    def __init__(self, config: OwnerConfig, stubs: Sequence[Any]) -> None:
        self._config = config
        self._stubs = stubs
        self._model: ServedModel | None = None

    async def model(self) -> ServedModel:
        """The model that sentences are made ready for: fetched once, and again when the parties have switched."""
        if self._model is None:
            self._model = await fetch_model(self._config, self._stubs)
        return self._model

    async def classify(self, texts: Sequence[Text], on_progress: OnProgress = lambda progress: None) -> Answers:
        """Classify sentences; those that the parties' switch to another model left without an answer are asked again.

        Raises:
            UserError: as `infer`.
        """
        if not texts:
            raise UserError("there are no sentences to classify; give at least one")
        predictions: dict[int, Prediction] = {}
        requests: list[RequestRecord] = []
        while True:
            model = await self.model()
            rows = [row for row in range(len(texts)) if row not in predictions]
            batches = self._batches(model, [texts[row] for row in rows])
            session = Session(self._config, self._stubs, model, on_progress, len(batches))
            try:
                for batch in batches:
                    output, record = await session.ask(batch)
                    requests.append(record)
                    found = _predictions(output, model.architecture, self._config.output)
                    predictions |= zip([rows[row] for row in batch.rows], found, strict=True)
            except UserError:
                if not await self._has_switched(model):
                    raise
                continue
            return Answers(tuple(predictions[row] for row in range(len(texts))), tuple(requests), model.architecture)

    def _batches(self, model: ServedModel, texts: Sequence[Text]) -> list[Batch]:
        architecture = model.architecture
        return make_batches(
            texts,
            model.tokenizer,
            buckets=self._config.buckets_of(architecture.positions),
            max_batch=self._config.max_batch,
            vocabulary=architecture.vocabulary,
            pad_token=architecture.pad_token,
            pairs=architecture.pairs,
        )

    async def _has_switched(self, model: ServedModel) -> bool:
        """Whether the parties use another model by now, which explains why a request for this one was not answered."""
        try:
            now = await model_in_use(self._config, self._stubs)
        except UserError:
            return False
        if now.model_id == model.model_id:
            return False
        self._model = None
        return True


def _predictions(output: np.ndarray, architecture: Architecture, kind: str) -> list[Prediction]:
    """What `secure.programs.secure_stages` says an answer is, read."""
    names, limited = architecture.label_names, architecture.row_limits
    if kind == "label":
        labels = [int(label) for label in np.asarray(output).reshape(-1)]
        if not all(label >= 0 and (limited or label < len(names)) for label in labels):
            raise NotAnswered("the parties' answer is no label that the model has; tell the operators")
        return [Prediction(label, names[label]) if label < len(names) else _NO_ANSWER for label in labels]
    found = []
    for row in np.asarray(output, np.float64):
        logits, label = row[: len(names)], int(row[: len(names)].argmax())
        kept = not limited or row[-1] > 0.5
        found.append(Prediction(label, names[label], tuple(map(float, logits))) if kept else _NO_ANSWER)
    return found


_NO_ANSWER = Prediction(None, "no answer")
