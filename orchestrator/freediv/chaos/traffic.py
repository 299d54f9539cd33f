"""Data owners that ask without a pause, know the right answers, and note what became of every request."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from pathlib import Path

from ..cluster.configuration import OwnerConfig, read_owner_config
from ..errors import UserError
from ..owners.data_owner import Progress, classify
from . import background
from .outcomes import Attempt

_PAUSE_S = 0.3
"""Between a refusal and the next request."""
_AT_A_TIME = 2
"""Sentences of a request."""


class Traffic:
    """Requests of one client for each folder, for as long as the context is open.

    Args:
        folders: of data owners.
        answers: sentences, and the label that each has to get.
        patience_s: after which a request without an answer is lost.
    """

    def __init__(self, folders: Sequence[Path], answers: Mapping[str, str], patience_s: float) -> None:
        self._configs = [
            read_owner_config(folder).model_copy(update={"request_s": patience_s, "connect_s": min(patience_s, 30.0)})
            for folder in folders
        ]
        self._answers = dict(answers)
        self._patience_s = patience_s
        self._attempts: list[Attempt] = []
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._in_the_middle: tuple[Callable[[], None], Future[Attempt]] | None = None
        self._clients: list[Future[None]] = []

    def __enter__(self) -> Traffic:
        self._clients = [background.start(self._ask_on(config)) for config in self._configs]
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> tuple[Attempt, ...]:
        """Let the requests in flight end, and send no more; all that were sent. One that does not end is lost."""
        self._stopping.set()
        deadline = time.monotonic() + self._patience_s + 30
        for client in self._clients:
            with contextlib.suppress(NotInTime):
                client.result(max(0.0, deadline - time.monotonic()))
        with self._changed:
            return tuple(self._attempts)

    def in_mid_request(self, act: Callable[[], None], timeout_s: float) -> Attempt:
        """Act at a moment when the parties have computed some stages of a request and not the others; the request.

        Raises:
            UserError: no request came that far in time.
        """
        acted: Future[Attempt] = Future()
        with self._changed:
            self._in_the_middle = (act, acted)
        try:
            return acted.result(timeout_s)
        except NotInTime:
            raise UserError(f"no request was computed within {timeout_s:g} s; see `freediv status`") from None

    def first(self, wanted: Callable[[Attempt], bool], timeout_s: float) -> Attempt | None:
        """The first request that is over and wanted, waited for if need be; None where none is in time."""
        return next(iter(self.some(wanted, 1, timeout_s)), None)

    def some(self, wanted: Callable[[Attempt], bool], count: int, timeout_s: float) -> list[Attempt]:
        """The first so many requests that are over and wanted, or those that are when the time is over."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                found = [one for one in self._attempts if one.over.is_set() and wanted(one)]
                enough = len(found) >= count
                if enough or not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    return sorted(found, key=lambda one: one.ended)[:count]

    async def _ask_on(self, config: OwnerConfig) -> None:
        while not self._stopping.is_set():
            attempt = Attempt(time.monotonic())
            with self._changed:
                self._attempts.append(attempt)
            sentences = random.sample(sorted(self._answers), min(_AT_A_TIME, len(self._answers)))
            try:
                await self._ask(config, sentences, attempt)
            except UserError as error:
                told = str(error)
                attempt.outcome, attempt.told = ("refused" if "\n" not in told else "lost"), told
            except Exception as error:  # not fit for a client: the request counts as lost
                attempt.outcome, attempt.told = "lost", f"{type(error).__name__}: {error}"
            attempt.ended = time.monotonic()
            if attempt.seconds >= self._patience_s:
                attempt.outcome = "lost"
            with self._changed:
                attempt.over.set()
                self._changed.notify_all()
            if attempt.outcome != "right":
                await asyncio.sleep(_PAUSE_S)

    async def _ask(self, config: OwnerConfig, sentences: list[str], attempt: Attempt) -> None:
        def on_progress(progress: Progress) -> None:
            if 0 < progress.done < progress.total - 1:
                self._act(attempt)

        found = await classify(config, sentences, on_progress)
        names = [prediction.name for prediction in found.predictions]
        attempt.outcome = "right" if names == [self._answers[sentence] for sentence in sentences] else "wrong"

    def _act(self, attempt: Attempt) -> None:
        with self._changed:
            waiting, self._in_the_middle = self._in_the_middle, None
        if waiting is not None:
            act, acted = waiting
            try:
                act()
                acted.set_result(attempt)
            except Exception as error:
                acted.set_exception(error)
