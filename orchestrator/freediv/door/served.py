"""Models by name, each behind one deployment or several: the least busy one answers, and another where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from ..cluster.configuration import OwnerConfig
from ..errors import UserError
from ..model import Architecture, Given
from ..model.answers import Prediction
from ..owners.data_owner import Answers, OnProgress, PartlyAnswered, RequestRecord
from ..owners.sentences import UnfitText
from ..owners.served_model import ServedModel
from ..wire.channels import Busy, Exhausted, NotAnswered
from .replica import Replica


class NotServed(NotAnswered):
    """No deployment can be asked now."""


@dataclass(frozen=True)
class Spent:
    """What a model's last answers cost: the requests as recorded, and no word of a text or an answer."""

    config: OwnerConfig
    architecture: Architecture
    requests: tuple[RequestRecord, ...]


@dataclass
class _Asked:
    """What is answered of one caller's texts so far."""

    texts: Sequence[Given]
    predictions: dict[int, Prediction] = field(default_factory=dict)
    requests: list[RequestRecord] = field(default_factory=list)
    architecture: Architecture | None = None

    @property
    def rows(self) -> list[int]:
        """Of the texts that have no answer."""
        return [row for row in range(len(self.texts)) if row not in self.predictions]

    def add(self, rows: Sequence[int], answers: Answers) -> None:
        self.predictions |= zip(rows, answers.predictions, strict=True)
        self.requests += answers.requests
        self.architecture = answers.architecture

    def cut_off(self, error: UserError) -> UserError:
        """Why the rest is not answered, with the answers that were paid for, if there are any."""
        if not self.predictions:
            return error
        partly = PartlyAnswered(str(error), tuple(sorted(self.predictions)), len(self.texts), self.answers())
        partly.__cause__ = error
        return partly

    def answers(self) -> Answers:
        assert self.architecture is not None
        predictions = tuple(self.predictions[row] for row in sorted(self.predictions))
        return Answers(predictions, tuple(self.requests), self.architecture)


class Served:
    """One model, as its name's callers see it.

    All replicas that answer have the same public digest. One that serves another model is left out until the last of
    the others is gone or has switched, too: then that model is the one that is served.

    Attributes:
        name: by which it is asked for.
        replicas: the deployments.
        last: what the last answers cost.
    """

    def __init__(self, name: str, replicas: Sequence[Replica]) -> None:
        self.name = name
        self.replicas = list(replicas)
        self.last: Spent | None = None
        self._digest = ""

    def able(self) -> list[Replica]:
        """The replicas that can be asked, all with the model that is served."""
        up = [one for one in self.replicas if one.up and one.model is not None]
        digests = [one.model.digest for one in up if one.model is not None]
        if digests and self._digest not in digests:
            self._digest = digests[0]
        return [one for one, digest in zip(up, digests, strict=True) if digest == self._digest]

    def model(self) -> ServedModel:
        """What is public about the model.

        Raises:
            NotServed: no replica can be asked.
        """
        for one in self.able():
            assert one.model is not None
            return one.model
        raise self._not_served()

    def reads_images(self) -> bool:
        """Whether the model does, and no texts.

        Raises:
            NotServed: as `model`.
        """
        return self.model().architecture.patches is not None

    def count_pieces(self, texts: Sequence[Given]) -> int:
        """How many word pieces texts have together.

        Raises:
            NotServed: as `model`.
        """
        model = self.model()
        return sum(map(len, model.reader.counted(texts, model.architecture, None)))

    async def answer(
        self,
        texts: Sequence[Given],
        on_progress: OnProgress = lambda progress: None,
        *,
        truncate: bool = False,
        on_wait: Callable[[float], None] = lambda seconds: None,
    ) -> Answers:
        """Answers in the order of the texts, from the least busy replica; `on_wait` hears how long it had no place.

        Where a replica fails, what it left without an answer is asked of another, each of them once. It may have run
        such a text all the same: its parties then count that, as those who answer count theirs; one answer is given.

        Raises:
            UserError: a text is unfit, or no replica answers; says why. `PartlyAnswered` where there are answers.
        """
        asked, tried, failed = _Asked(texts), set[Replica](), None
        while rows := asked.rows:
            left = [one for one in self.able() if one not in tried]
            if not left:
                raise asked.cut_off(failed or self._not_served())
            replica = min(left, key=lambda one: one.texts)
            began = time.monotonic()
            async with _busy(replica, len(rows)):
                on_wait(time.monotonic() - began)
                if not replica.up:  # since this one waits for a place
                    continue
                try:
                    found = await replica.classify([texts[row] for row in rows], on_progress, truncate=truncate)
                    asked.add(rows, found)
                    self._spent(replica, found)
                except PartlyAnswered as error:
                    asked.add([rows[row] for row in error.rows], error.answers)
                    self._spent(replica, error.answers)
                    failed = self._failed(replica, error.__cause__ if isinstance(error.__cause__, UserError) else error)
                except UnfitText as error:
                    raise type(error)(rows[error.row], error.reason, "") from None
                except UserError as error:
                    failed = self._failed(replica, error)
                tried.add(replica)
        return asked.answers()

    def _spent(self, replica: Replica, answers: Answers) -> None:
        self.last = Spent(replica.config, answers.architecture, answers.requests)

    def _failed(self, replica: Replica, error: UserError) -> UserError:
        """Why a replica gave no answer. One that has no room, or no quota for this owner, is not broken; nor is it one
        that can be asked, where it was not its parties that failed: that is looked at.
        """
        if isinstance(error, NotAnswered) and not isinstance(error, Busy | Exhausted):
            replica.fail(str(error))
        elif not isinstance(error, NotAnswered):
            replica.look_soon()
        return error

    def _not_served(self) -> NotServed:
        why = dict.fromkeys(one.problem for one in self.replicas if one.problem)
        return NotServed("; ".join(why) or "another model is served by every deployment that can be asked")


@contextlib.asynccontextmanager
async def _busy(replica: Replica, texts: int) -> AsyncIterator[None]:
    """A place among those who ask a replica; waited for in turn."""
    replica.texts += texts
    try:
        async with replica.places:
            yield
    finally:
        replica.texts -= texts


class Models:
    """All that is behind the door, by name: the one that was given, else the cluster's.

    Of those that were given no name, models with one public digest are one model, whichever of their names is used.
    """

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = tuple(replicas)
        self.by_name: dict[str, Served] = {}
        for one in replicas:
            name = one.name or one.config.cluster
            self.by_name.setdefault(name, Served(name, ())).replicas.append(one)

    @property
    def first(self) -> Served:
        """The model of the first folder, which is the one that callers mean who name none."""
        return next(iter(self.by_name.values()))

    def all(self) -> list[Served]:
        """Each model once."""
        return list(dict.fromkeys(self.by_name.values()))

    async def watch(self) -> None:
        """Look after all replicas, until cancelled."""
        watching = [asyncio.ensure_future(one.watch()) for one in self.replicas]
        try:
            while True:
                self._join()
                await asyncio.sleep(_JOIN_S)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            for one in self.replicas:
                await one.close()

    def _join(self) -> None:
        found: dict[str, Served] = {}
        for served in self.all():
            if all(one.name is None for one in served.replicas) and (able := served.able()):
                assert able[0].model is not None
                first = found.setdefault(able[0].model.digest, served)
                if first is not served:
                    first.replicas += served.replicas
                    self.by_name = {name: first if one is served else one for name, one in self.by_name.items()}


_JOIN_S = 0.2
