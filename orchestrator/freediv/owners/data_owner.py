"""The data owner: shares sentences, or images, with the parties, and joins the shares of the answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cluster.configuration import OwnerConfig, read_owner_config
from ..cluster.identity import read_identity
from ..errors import UserError
from ..model import Architecture, Given
from ..model.answers import Output, Prediction, answer_of
from ..model.pieces.cut import Cut
from ..model.reading.reader import Read
from ..wire import protocol_pb2_grpc as rpc
from ..wire.channels import NotAnswered, channels
from .sentences import Batch, make_batches
from .served_model import ServedModel, fetch_model, model_in_use
from .session import OnProgress, Progress, RequestRecord, Session

__all__ = [
    "Answers",
    "DataOwner",
    "OnProgress",
    "PartlyAnswered",
    "Progress",
    "RequestRecord",
    "classify",
    "connected",
    "infer",
]


@dataclass(frozen=True)
class Answers:
    """Predictions in the order of the sentences, and what every request cost."""

    predictions: tuple[Prediction, ...]
    requests: tuple[RequestRecord, ...]
    architecture: Architecture


class PartlyAnswered(UserError):  # noqa: N818 (an event, not a mistake)
    """A request failed after others were answered and paid for.

    `rows` are the places of the sentences that `answers` has predictions of. `results` are the same as a `Client` gives
    them; nothing where none was asked.
    """

    def __init__(self, reason: str, rows: tuple[int, ...], count: int, answers: Answers) -> None:
        super().__init__(f"{reason}; {len(rows)} of {count} sentences were answered before that")
        self.rows, self.answers = rows, answers
        self.results: Sequence[Any] = ()


def infer(
    folder: Path, texts: Sequence[Given], *, on_progress: OnProgress = lambda progress: None, truncate: bool = False
) -> Answers:
    """Classify sentences, pairs of them or images, privately, with the parties that a data owner's folder names.

    With `truncate`, those that are longer than the model reads are cut there; else they are refused.

    Raises:
        UserError: the folder, a sentence or a party is not as it should be; `PartlyAnswered` where there are answers.
    """
    return asyncio.run(classify(read_owner_config(folder), texts, on_progress, truncate=truncate))


async def classify(
    config: OwnerConfig,
    texts: Sequence[Given],
    on_progress: OnProgress = lambda progress: None,
    *,
    truncate: bool = False,
) -> Answers:
    """Classify sentences; see `infer`."""
    async with connected(config) as owner:
        return await owner.classify(texts, on_progress, truncate=truncate)


@contextlib.asynccontextmanager
async def connected(config: OwnerConfig) -> AsyncIterator[DataOwner]:
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
        self._fetching = asyncio.Lock()

    async def model(self, *, anew: bool = False) -> ServedModel:
        """The model that sentences are made ready for: fetched once, and again when the parties have switched.

        Args:
            anew: whether to ask again all the same.

        Raises:
            UserError: as `fetch_model`.
        """
        async with self._fetching:  # by one, for all who ask at the same time
            if self._model is None or anew:
                self._model = await fetch_model(self._config, self._stubs)
            return self._model

    async def classify(
        self,
        texts: Sequence[Given],
        on_progress: OnProgress = lambda progress: None,
        *,
        truncate: bool = False,
        patience_s: float = math.inf,
        insist: Callable[[Architecture], None] = lambda architecture: None,
        on_answered: Callable[[Mapping[int, Prediction], Architecture], None] = lambda found, architecture: None,
    ) -> Answers:
        """Classify sentences; those that the parties' switch to another model left without an answer are asked again.

        Args:
            texts: the sentences.
            on_progress: told how far the parties are.
            truncate: as for `infer`.
            patience_s: parties that have no room are asked again where they have in no more seconds.
            insist: raises a `UserError` for a model that is not to be asked.
            on_answered: given what each request brought: predictions by their places, and whose they are.

        Raises:
            UserError: as `infer`.
        """
        if not texts:
            raise UserError("there are no sentences to classify; give at least one")
        predictions: dict[int, Prediction] = {}
        requests: list[RequestRecord] = []
        architecture: Architecture | None = None
        while True:
            rows = [row for row in range(len(texts)) if row not in predictions]
            model: ServedModel | None = None
            try:
                model = await self.model()
                insist(model.architecture)
                left = [texts[row] for row in rows]
                batches = await asyncio.to_thread(self._batches, model, left, truncate=truncate)
                session = Session(self._config, self._stubs, model, on_progress, len(batches), patience_s)
                for batch in batches:
                    output, record = await session.ask(batch)
                    requests.append(record)
                    architecture = model.architecture
                    read = _predictions(output, architecture, self._config.output, batch.cuts)
                    found = dict(zip([rows[row] for row in batch.rows], read, strict=True))
                    predictions |= found
                    on_answered(found, architecture)
            except UserError as error:
                if model is not None and await self._has_switched(model):
                    continue
                if architecture is None or not predictions:
                    raise
                answered = tuple(sorted(predictions))
                paid = Answers(tuple(predictions[row] for row in answered), tuple(requests), architecture)
                raise PartlyAnswered(str(error), answered, len(texts), paid) from error
            assert architecture is not None
            return Answers(tuple(predictions[row] for row in range(len(texts))), tuple(requests), architecture)

    def _batches(self, model: ServedModel, texts: Sequence[Given], *, truncate: bool) -> list[Batch]:
        architecture = model.architecture
        return make_batches(
            texts,
            model.reader,
            architecture,
            buckets=self._config.buckets_of(architecture),
            max_batch=self._config.max_batch,
            truncate=truncate,
            as_one=self._config.output == "order",
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


def _predictions(
    output: np.ndarray, architecture: Architecture, kind: Output, read: Sequence[Read] = ()
) -> list[Prediction]:
    try:
        cuts = [one for one in read if isinstance(one, Cut)]
        return answer_of(architecture).decode(architecture, output, kind, cuts)
    except ValueError as error:
        raise NotAnswered(f"the parties' answer {error}; tell the operators") from None
