"""A data owner's programs: one client, which any number of threads ask at the same time."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import CancelledError
from functools import partial
from types import TracebackType
from typing import Any, overload

from ..errors import UserError
from ..model import Given
from .async_client import AsyncClient, OnAnswered
from .results import Classification, Embedding, Results, Score, Tags

_CLOSE_S = 30.0


class Client:
    """A data owner who asks the parties; made by `connect`.

    Threads share its connections, and what they ask at the same time may share the parties' runs. A text in gives a
    result; several, in a list or whatever else can be gone through, give `Results`, in their order. A pair of texts is
    a tuple of two, and counts as one text.

    Every method takes

    - `truncate`: texts that are longer than the model reads are cut there; else they are refused;
    - `progress`: called with how many texts have an answer, and how many there are, after each request to the parties;
      in the thread that asks.

    and raises

    - `UserError`: the model does not answer so (said before anything is asked of it), a text is unfit, a party does not
      answer, or a quota is used up. Where parties only have no room, they are asked again, as `infer` does;
    - `PartlyAnswered`, which is one, where some texts had been answered before: its `results` are these.
    """

    def __init__(self, folder: str | os.PathLike[str], *, name: str | None = None, at_once: int = 8) -> None:
        """See `connect`."""
        self._client = AsyncClient(folder, name=name, at_once=at_once)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="freediv-client", daemon=True)
        self._thread.start()
        self._closed, self._lock = False, threading.Lock()
        self._end = weakref.finalize(self, _end, self._client, self._loop, self._thread)  # also as the program ends

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what other threads have under way, which then fails, and all connections."""
        with self._lock:
            self._closed = True
        self._end()

    @overload
    def classify(  # type: ignore[overload-overlap]  # a str is several strings, too
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Classification: ...
    @overload
    def classify(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Classification]: ...
    def classify(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Classification | Results[Classification]:
        """Labels: of a model that answers one, or any number of them."""
        return self._ask(partial(self._client.classify, texts, truncate=truncate), progress)

    @overload
    def score(  # type: ignore[overload-overlap]
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Score: ...
    @overload
    def score(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Score]: ...
    def score(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Score | Results[Score]:
        """Scores of texts, or pairs, in the order in which they are given."""
        return self._ask(partial(self._client.score, texts, truncate=truncate), progress)

    def rerank(
        self, query: str, texts: Iterable[str], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Results[Score]:
        """Scores of the pairs of a query and each text, the best first; `index` says which text. Those without an
        answer come last.
        """
        return self._ask(partial(self._client.rerank, query, texts, truncate=truncate), progress)

    @overload
    def embed(  # type: ignore[overload-overlap]
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Embedding: ...
    @overload
    def embed(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Embedding]: ...
    def embed(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Embedding | Results[Embedding]:
        """Vectors, float64 [hidden] each."""
        return self._ask(partial(self._client.embed, texts, truncate=truncate), progress)

    @overload
    def tag(  # type: ignore[overload-overlap]
        self, texts: Given, *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Tags: ...
    @overload
    def tag(
        self, texts: Iterable[Given], *, truncate: bool = ..., progress: OnAnswered | None = ...
    ) -> Results[Tags]: ...
    def tag(
        self, texts: Given | Iterable[Given], *, truncate: bool = False, progress: OnAnswered | None = None
    ) -> Tags | Results[Tags]:
        """Spans that have a label."""
        return self._ask(partial(self._client.tag, texts, truncate=truncate), progress)

    def _ask(self, call: Callable[..., Coroutine[Any, Any, Any]], progress: OnAnswered | None) -> Any:
        """What the loop's thread finds; whatever ends the wait here ends the question there."""
        told: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        tell = None if progress is None else lambda *counts: told.put(counts)
        with self._lock:  # what is begun before `close` is ended by it
            if self._closed:
                raise UserError("the client is closed; connect again")
            if not self._thread.is_alive():
                raise UserError("the client is of the process that this one was forked from; connect in this one")
            asking = asyncio.run_coroutine_threadsafe(call(progress=tell), self._loop)
        asking.add_done_callback(lambda _: told.put(None))
        try:
            while (counts := told.get()) is not None:
                assert progress is not None
                progress(*counts)
            return asking.result()
        except CancelledError:
            raise UserError("the client was closed before it had an answer") from None
        finally:
            asking.cancel()


def _end(client: AsyncClient, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """End a client's loop and thread."""
    if not thread.is_alive():  # of the process that this one was forked from
        return
    if thread is threading.current_thread():  # garbage is collected in any
        loop.create_task(_ended(client, loop)).add_done_callback(lambda _: loop.stop())
        return
    asyncio.run_coroutine_threadsafe(_ended(client, loop), loop).result(_CLOSE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_CLOSE_S)
    loop.close()


async def _ended(client: AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
    await client.close()
    await loop.shutdown_default_executor()


def connect(folder: str | os.PathLike[str], *, name: str | None = None, at_once: int = 8) -> Client:
    """A client for a data owner's programs: `with freediv.connect(folder) as client`.

    The parties are reached when they are first asked.

    Args:
        folder: a data owner's, or a rendered directory.
        name: which data owner, where a rendered directory holds several.
        at_once: calls that are with the parties at a time; others wait for a place here.

    Raises:
        UserError: the folder is none, or its certificate cannot be used.
    """
    return Client(folder, name=name, at_once=at_once)
