"""A data owner's programs that await: many questions at a time over one set of connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, overload

from ..cluster.configuration import read_owner_config
from ..cluster.folders import owner_folder
from ..errors import UserError
from ..model import Architecture, Given
from ..model.answers import Prediction, answer_of
from ..model.reading.picture_files import begins_as_image
from .connections import Connections
from .costs import CallCost, run_cost
from .data_owner import Answers, PartlyAnswered
from .results import Classification, Embedding, Result, Results, Score, Tags, Wanted, reading_of

OnAnswered = Callable[[int, int], object]
"""Told how many texts of a call have an answer, of how many."""
_METHODS: Mapping[Wanted, str] = {"labels": "classify", "score": "score", "vector": "embed", "tags": "tag"}


class AsyncClient:
    """A data owner who asks the parties from a program that awaits; `Client` says what its methods do.

    It belongs to one event loop. Calls of several tasks share its connections, and what is under way at the same time
    may share the parties' runs.
    """

    def __init__(self, folder: str | os.PathLike[str], *, name: str | None = None, at_once: int = 8) -> None:
        """See `connect`."""
        if at_once < 1:
            raise UserError(f"at_once is {at_once}; at least one call has to be with the parties at a time")
        found = owner_folder(Path(folder), "data-owner", name)
        config = read_owner_config(found)
        if config.role != "data-owner":
            raise UserError(f"{found}: is a {config.role}'s; a data owner's folder is needed")
        self._config = config
        self._connections = Connections(config)
        self._places = asyncio.Semaphore(at_once)
        self._asking: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way, which then fails, and all connections."""
        self._closed = True
        asking = list(self._asking)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._connections.close()

    @overload
    async def classify(  # type: ignore[overload-overlap]  # a str is several strings, too
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Classification: ...
    @overload
    async def classify(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Classification]: ...
    async def classify(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Classification | Results[Classification]:
        """See `Client.classify`."""
        return await self._ask("labels", texts, truncate, progress)

    @overload
    async def score(  # type: ignore[overload-overlap]
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Score: ...
    @overload
    async def score(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Score]: ...
    async def score(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Score | Results[Score]:
        """See `Client.score`."""
        return await self._ask("score", texts, truncate, progress)

    async def rerank(
        self, query: str, texts: Iterable[str], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Results[Score]:
        """See `Client.rerank`."""
        if isinstance(texts, str):
            raise UserError("`rerank` puts several texts in order; give a list")
        found = await self._ask("score", [(query, text) for text in texts], truncate, progress)
        return _best_first(found)

    @overload
    async def embed(  # type: ignore[overload-overlap]
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Embedding: ...
    @overload
    async def embed(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Embedding]: ...
    async def embed(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Embedding | Results[Embedding]:
        """See `Client.embed`."""
        return await self._ask("vector", texts, truncate, progress)

    @overload
    async def tag(  # type: ignore[overload-overlap]
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Tags: ...
    @overload
    async def tag(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Tags]: ...
    async def tag(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Tags | Results[Tags]:
        """See `Client.tag`."""
        return await self._ask("tags", texts, truncate, progress)

    async def _ask(
        self, wanted: Wanted, texts: Given | Iterable[Given], truncate: bool, progress: OnAnswered | None
    ) -> Any:
        given, alone = _given(texts)
        found = await self._until_closed(self._results(wanted, given, truncate, progress))
        return found[0] if alone else found

    async def _until_closed(self, work: Coroutine[Any, Any, Results[Any]]) -> Results[Any]:
        """Work that `close` ends; it ends with who awaits it, too."""
        if self._closed:
            work.close()
            raise UserError("the client is closed; connect again")
        task = asyncio.ensure_future(work)
        self._asking.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._asking.discard(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if task.cancelled():
            raise UserError("the client was closed before it had an answer")
        return task.result()

    async def _results(
        self, wanted: Wanted, texts: Sequence[Given], truncate: bool, progress: OnAnswered | None
    ) -> Results[Any]:
        found: dict[int, Result] = {}

        def answered(predictions: Mapping[int, Prediction], architecture: Architecture) -> None:
            reading = reading_of(architecture)
            for row, prediction in predictions.items():
                found[row] = replace(reading.read(wanted, prediction), index=row)
            if progress is not None:
                progress(len(found), len(texts))

        if not texts:
            return Results((), CallCost())
        try:
            async with self._places, self._connections.used() as owner:
                answers = await owner.classify(
                    texts, truncate=truncate, insist=partial(_insist, wanted), on_answered=answered
                )
        except PartlyAnswered as error:
            error.results = self._with_cost(found, error.answers)
            raise
        return self._with_cost(found, answers)

    def _with_cost(self, found: Mapping[int, Result], answers: Answers) -> Results[Any]:
        cost = CallCost(run_cost(answers.requests, answers.architecture, self._config))
        return Results([replace(found[row], cost=cost) for row in sorted(found)], cost)


def connect_async(folder: str | os.PathLike[str], *, name: str | None = None, at_once: int = 8) -> AsyncClient:
    """A client for programs that await: `async with freediv.connect_async(folder) as client`; see `connect`."""
    return AsyncClient(folder, name=name, at_once=at_once)


def _insist(wanted: Wanted, architecture: Architecture) -> None:
    """Refuse a model that does not answer what is wanted.

    Raises:
        UserError: says how to ask it.
    """
    gives = reading_of(architecture).gives
    if wanted not in gives:
        fitting = " or ".join(f"`{_METHODS[one]}`" for one in gives)
        raise UserError(
            f"`{_METHODS[wanted]}` does not fit the model in use, which answers {answer_of(architecture).words.kind}: "
            f"use {fitting}"
        )


def _best_first(found: Results[Score]) -> Results[Score]:
    return Results(sorted(found, key=lambda one: one.place), found.cost)


def _given(texts: object) -> tuple[list[Given], bool]:
    """The texts, and whether it is one alone.

    Raises:
        UserError: one of them is none.
    """
    if isinstance(texts, str | os.PathLike) or _is_pair(texts) or _is_image(texts):
        return [_text(0, texts)], True
    if isinstance(texts, bytes | Mapping) or not isinstance(texts, Iterable):
        raise UserError(
            f"a {type(texts).__name__} is no text: give a str, a pair (a tuple of two), an image (a Path or bytes), or "
            "a list"
        )
    return [_text(row, one) for row, one in enumerate(texts)], False


def _is_pair(one: object) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and all(isinstance(part, str) for part in one)


def _is_image(one: object) -> bool:
    return isinstance(one, bytes) and begins_as_image(one)


def _text(row: int, one: Any) -> Given:
    if isinstance(one, str) or _is_image(one):
        return one
    if isinstance(one, os.PathLike):
        return Path(one)
    if isinstance(one, tuple | list) and _is_pair(tuple(one)):
        return one[0], one[1]
    raise UserError(
        f"text {row + 1} is a {type(one).__name__}: a text is a str, a pair a tuple of two, an image a Path or bytes"
    )
