"""Rank 0's part: one order of requests for all parties, one link at a time, one model for all or for none.

Everything is done one after another in one task. All parties are told what to do by the same calls, rank 0 itself too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import grpc

from ...cluster.configuration import PartyConfig
from ...cluster.credentials import Credentials, Revoked
from ...mpc.link.transport import SECRET_BYTES
from ...wire import protocol_pb2 as pb
from ..requests import Refused
from .arrivals import Arrival, Arrivals
from .peers import Peers
from .turns import Turns

log = logging.getLogger(__name__)

_TEND_S = 1.0
"""How often the link is looked after when there is nothing else to do; less often while it cannot be had."""
_SLOWEST_TEND_S = 16.0
_FIND_S = 0.3
"""How often parties that are not there yet are looked for."""


@dataclass
class _Activation:
    """A model to be switched to; `done` says how it went."""

    model_id: str
    done: asyncio.Future[None]


class Coordinator:
    """Decides for all parties. `run` does the work, the other methods hand it in."""

    def __init__(self, config: PartyConfig, credentials: Credentials, revoked: Revoked) -> None:
        self._config = config
        self._credentials, self._revoked = credentials, revoked
        self._incarnation = secrets.token_bytes(8)
        self._problem = "the parties have not been found yet"
        self._peers: Peers | None = None
        self._epoch, self._secret = 0, b""
        self._failed_links = 0
        self._jobs: deque[Turns | _Activation] = deque()
        self._wake = asyncio.Event()
        self._arrivals = Arrivals(config.world_size, config.limits.arrival_s, self._ready, self._drop_soon)
        self._running: frozenset[str] = frozenset()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def problem(self) -> str:
        """Why the parties cannot compute together; empty if they can."""
        return self._problem

    # -- what is handed in

    def arrived(self, rank: int, request: pb.ArrivedRequest) -> pb.ArrivedReply:
        """A party has all shares of a request."""
        if request.request in self._running:  # it goes on, whatever its owner sends under its id
            return pb.ArrivedReply(refused="a request with this id is under way", incarnation=self._incarnation)
        told = Arrival(request.request, request.model_id, request.batch, request.length)
        return pb.ArrivedReply(refused=self._arrivals.arrived(rank, told), incarnation=self._incarnation)

    def withdrawn(self, key: str) -> None:
        """A request's owner has gone away; one that runs already runs to its end."""
        if key not in self._running:
            self._arrivals.withdrawn(key)

    async def activate(self, model_id: str) -> None:
        """Switch all parties to a model.

        Raises:
            Refused: they stay with the one that they have; says why.
        """
        if self._peers is not None and (wrong := await self._peers.preload(model_id)):
            raise Refused(grpc.StatusCode.ABORTED, f"nothing was switched: {wrong[0]}")
        activation = _Activation(model_id, asyncio.get_running_loop().create_future())
        self._jobs.append(activation)
        self._wake.set()
        await activation.done

    async def states(self) -> list[pb.PartyState | str]:
        """What every party is at, or why that is not known."""
        return await self._peers.states() if self._peers is not None else []

    # -- the work

    async def run(self) -> None:
        """Serve what is handed in, one by one, and keep the link up; until cancelled."""
        self._peers = Peers(self._config, self._credentials, self._revoked)
        try:
            self._wake.set()
            while True:
                try:
                    await self._step(self._peers)
                except Exception:  # whatever it is, the parties are not to be left without an order
                    log.exception("the coordinator stumbled")
                    await asyncio.sleep(_TEND_S)
        finally:
            await self._peers.close()

    async def _step(self, peers: Peers) -> None:
        if not self._jobs:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._patience())
            self._wake.clear()
        if not self._jobs:
            await self._tend(peers)
            return
        job = self._jobs[0]
        if isinstance(job, Turns):
            await self._fill(job)
            run = job.take(self._config.runs.size)
            if not job and self._jobs and self._jobs[0] is job:
                self._jobs.popleft()
            await self._serve(peers, run)
            return
        self._jobs.popleft()
        refused: Refused | None = None
        try:
            await self._switch(peers, job.model_id)
        except Refused as error:
            refused = error
        if job.done.done():  # whoever asked has gone away
            return
        if refused is None:
            job.done.set_result(None)
        else:
            job.done.set_exception(refused)

    async def _fill(self, turns: Turns) -> None:
        """Wait a moment for requests that could share the next run, where there is room for them."""
        batching = self._config.runs
        while run := turns.next_run(batching.size):
            seconds = run[0].ready + batching.wait_ms / 1000 - time.monotonic()
            if seconds <= 0 or sum(one.batch for one in run) >= batching.size:
                return
            self._wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), seconds)

    async def _serve(self, peers: Peers, run: list[Arrival]) -> None:
        """Have all parties run requests together, except those that cannot be run any more."""
        self._running = frozenset(one.request for one in run)
        try:
            model_id = await self._tend(peers)
            why_not = {one.request: self._why_not(one, model_id) for one in run}
            for key, why in why_not.items():
                if why:
                    self._arrivals.finish(key, why)
                    await peers.drop([key], why)
            run = [one for one in run if not why_not[one.request]]
            if not run:
                return
            cause = await peers.execute(run, self._epoch)
        finally:
            self._running = frozenset()
        for one in run:
            self._arrivals.finish(one.request, cause or "the request has been answered")
        if cause is not None:
            log.warning("%d requests failed: %s", len(run), cause)
            self._say("the link is being renewed")

    def _why_not(self, arrival: Arrival, model_id: str | None) -> str:
        """Why a request cannot be run now, with this model loaded; empty if it can."""
        if time.monotonic() - arrival.ready > self._config.limits.run_s:
            return "too many requests were before this one; send it again later"
        if not model_id:
            return f"the parties cannot compute together: {self._problem or 'no model is loaded'}"
        return "" if model_id == arrival.model_id else "another model is in use by now; fetch it and ask again"

    async def _switch(self, peers: Peers, model_id: str) -> None:
        """Have all parties load a model, and use it once all have."""
        states = await self._all_states(peers)
        if states is None:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"nothing was switched: {self._problem}")
        lacking = [state.rank for state in states if not _has(state, model_id)]
        if lacking:
            reason = f"party {lacking[0]} has no shares of this model; upload it to all parties"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, reason)
        before = states[0].model_id
        cause = await self._establish(peers, states, model_id)
        if cause is None:
            # Rank 0's pointer decides: once it is written, a party that goes away is told when it is back.
            cause = next(iter(await peers.keep(model_id, only_rank_0=True)), None)
        if cause is not None:
            await peers.keep(before)
            self._say("the link is being renewed")
            raise Refused(grpc.StatusCode.ABORTED, f"nothing was switched: {cause}")
        for words in await peers.keep(model_id):
            log.warning("a party will be told of model %s when it is back: %s", model_id, words)
        self._say("")
        log.info("all parties use model %s", model_id)

    async def _tend(self, peers: Peers) -> str | None:
        """Bring all parties to one link and one model, whose id is returned (empty: none); or None and `problem`."""
        states = await self._all_states(peers)
        if states is None:
            return None
        model_id = states[0].model_id
        lacking = [state.rank for state in states if model_id and not _has(state, model_id)]
        if lacking:
            model_id = ""
        if not all(self._on_the_link(state) and state.loaded == model_id for state in states):
            cause = await self._establish(peers, states, model_id)
            if cause is not None:
                self._say(cause)
                return None
        if not lacking and any(state.model_id != model_id for state in states):
            await peers.keep(model_id)
        self._say(f"party {lacking[0]} has lost its shares of the model; load it again" if lacking else "")
        return model_id

    async def _establish(self, peers: Peers, states: list[pb.PartyState], model_id: str) -> str | None:
        """One link for all, with a model loaded; the cause, if that failed."""
        if not all(self._on_the_link(s) and (s.loaded in ("", model_id) or s.beside == model_id) for s in states):
            # Beyond any epoch that a party has seen, also one of an earlier life of rank 0.
            self._epoch = max(int(time.time()), *(state.epoch + 1 for state in states))
            self._secret = secrets.token_bytes(SECRET_BYTES)
            log.info("connecting the parties, link epoch %d", self._epoch)
        cause = await peers.establish(self._epoch, self._secret, model_id, self._incarnation)
        self._failed_links = 0 if cause is None else self._failed_links + 1
        return cause

    async def _all_states(self, peers: Peers) -> list[pb.PartyState] | None:
        found: list[pb.PartyState] = []
        for state in await peers.states():
            if isinstance(state, str):
                self._say(state)
                return None
            found.append(state)
        return found

    def _on_the_link(self, state: pb.PartyState) -> bool:
        return state.link_up and state.epoch == self._epoch

    def _patience(self) -> float:
        if self._failed_links:
            return min(_TEND_S * 2.0**self._failed_links, _SLOWEST_TEND_S)
        return _FIND_S if self._problem else _TEND_S

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem

    def _ready(self, arrival: Arrival) -> None:
        """All parties hold a request. It comes after a switch that was asked for before, and before a later one."""
        if not self._jobs or not isinstance(last := self._jobs[-1], Turns):
            self._jobs.append(last := Turns())
        last.add(arrival)
        self._wake.set()

    def _drop_soon(self, key: str, why: str) -> None:
        for job in list(self._jobs):
            if isinstance(job, Turns):
                job.discard(key)
                if not job:
                    self._jobs.remove(job)
        if self._peers is not None:
            self._spawn(self._peers.drop([key], why))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _has(state: pb.PartyState, model_id: str) -> bool:
    return any(one.model_id == model_id for one in state.stored)
