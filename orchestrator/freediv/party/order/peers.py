"""What rank 0 tells all parties, itself too, and what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc

from ...cluster.addresses import join_host_port
from ...cluster.configuration import PartyConfig
from ...cluster.credentials import Credentials, Revoked
from ...cluster.identity import Role
from ...wire import protocol_pb2 as pb
from ...wire import protocol_pb2_grpc as rpc
from ...wire.channels import PartyChannel, explain
from .arrivals import Arrival

_SHORT_S = 5.0
"""Deadline of calls that a healthy party answers at once."""
_CAUSES_S = 1.0
"""How long to collect causes after a first failure: the one that explains the others may come last."""

Outcome = pb.ExecuteReply.Outcome


class Peers:
    """All parties, by rank. Must be closed."""

    def __init__(self, config: PartyConfig, credentials: Credentials, revoked: Revoked) -> None:
        self._config, self._revoked = config, revoked
        self._channels = [PartyChannel(config, rank, credentials) for rank in range(config.world_size)]

    @property
    def _stubs(self) -> list[rpc.PeerStub]:
        return [rpc.PeerStub(channel.get()) for channel in self._channels]  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """End all calls."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def states(self) -> list[pb.PartyState | str]:
        """What every party is at, or why that is not known."""
        return list(await asyncio.gather(*(self._inspect(rank) for rank in range(len(self._channels)))))

    async def establish(self, epoch: int, secret: bytes, model_id: str, incarnation: bytes) -> str | None:
        """Bring all parties to one link, with a model loaded (empty: none); the cause, if that failed.

        When one party fails, or gets no further, the others are not left waiting for it.
        """
        command = pb.EstablishRequest(epoch=epoch, secret=secret, model_id=model_id, incarnation=incarnation)
        limits = self._config.limits
        seconds = 2 * limits.connect_s + limits.load_s
        calls = [asyncio.ensure_future(stub.Establish(command, timeout=seconds)) for stub in self._stubs]
        try:
            before: list[Any] = []
            while True:
                _, waiting = await asyncio.wait(calls, timeout=limits.receive_s, return_when=asyncio.FIRST_EXCEPTION)
                failed = [(rank, call.exception()) for rank, call in enumerate(calls) if call.done()]
                causes = [f"party {rank}: {_words(error)}" for rank, error in failed if error is not None]
                if causes or not waiting:
                    return causes[0] if causes else None
                now = [_progress(state) for state in await self.states()]
                stuck = [
                    rank for rank, call in enumerate(calls) if call in waiting and now[rank] in before[rank : rank + 1]
                ]
                if stuck:
                    return f"party {stuck[0]} got no further for {limits.receive_s:g} s; its worker is replaced"
                before = now
        finally:
            for call in calls:
                call.cancel()

    async def execute(self, run: Sequence[Arrival], epoch: int) -> str | None:
        """Have all parties run requests of one model and length together.

        Returns:
            The cause that explains most, if it failed; all parties are told it then.
        """
        command = pb.ExecuteRequest(
            parts=[pb.Part(request=one.request, batch=one.batch) for one in run],
            epoch=epoch,
            model_id=run[0].model_id,
            length=run[0].length,
        )
        run_s = self._config.limits.run_s
        calls = {asyncio.ensure_future(stub.Execute(command, timeout=run_s)): r for r, stub in enumerate(self._stubs)}
        waiting, failures, until = set(calls), list[tuple[int, str]](), float("inf")
        try:
            while waiting and time.monotonic() < until:
                seconds = None if until == float("inf") else until - time.monotonic()
                done, waiting = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                failures += [found for call in done if (found := self._failure(calls[call], call)) is not None]
                if failures:
                    # Nothing explains more than that a party is gone.
                    until = min(until, time.monotonic() + _CAUSES_S) if min(failures)[0] > 0 else 0.0
            if not failures:
                return None
            cause = min(failures)[1]
            await self.drop([one.request for one in run], cause, failed=True)
            return cause
        finally:
            for call in waiting:
                call.cancel()

    async def drop(self, requests: Sequence[str], cause: str, *, failed: bool = False) -> None:
        """Have all parties end requests without a result."""
        command = pb.DropRequest(requests=requests, cause=cause, failed=failed)
        await self._everywhere(lambda stub: stub.Drop(command, timeout=_SHORT_S))

    async def preload(self, model_id: str) -> list[str]:
        """Have all parties load a model beside the one in use; what went wrong."""
        command = pb.PreloadRequest(model_id=model_id)
        seconds = self._config.limits.load_s
        return await self._everywhere(lambda stub: stub.Preload(command, timeout=seconds))

    async def keep(self, model_id: str, *, only_rank_0: bool = False) -> list[str]:
        """Have parties use a model from now on; what went wrong."""
        command = pb.KeepRequest(model_id=model_id)
        return await self._everywhere(
            lambda stub: stub.Keep(command, timeout=_SHORT_S), self._stubs[:1] if only_rank_0 else self._stubs
        )

    async def _inspect(self, rank: int) -> pb.PartyState | str:
        if self._revoked.names(Role(self._config.cluster, "party", rank=rank)):  # is told no link's secret, either
            return f"party {rank} has been revoked by party 0's operator"
        try:
            state: pb.PartyState = await self._stubs[rank].Inspect(pb.InspectRequest(), timeout=_SHORT_S)
        except grpc.aio.AioRpcError as error:
            return str(await explain(error, self._config, rank))
        if state.agreement != self._config.digest():
            address = self._config.parties[rank]
            where = f"party {rank} at {join_host_port(address.host, address.grpc_port)}"
            return f"{where} was rendered from another topology than party 0; give all parties folders of one rendering"
        return state

    def _failure(self, rank: int, call: asyncio.Future[Any]) -> tuple[int, str] | None:
        """How much a failure explains (less is more), and its cause; None for an answer."""
        error = call.exception()
        if isinstance(error, grpc.aio.AioRpcError):
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return 1, f"party {rank} did not finish within {self._config.limits.run_s:g} s"
            return 0, f"party {rank} went away while the request ran; send it again"
        if error is not None:
            return 1, f"party {rank}: {error}"
        reply = call.result()
        if reply.outcome == Outcome.ANSWERED:
            return None
        order = {Outcome.FAILED: 1, Outcome.REFUSED: 2, Outcome.PEER_LOST: 3}
        return order[reply.outcome], reply.cause

    async def _everywhere(
        self, call: Callable[[Any], Awaitable[Any]], stubs: list[rpc.PeerStub] | None = None
    ) -> list[str]:
        async def one(stub: rpc.PeerStub) -> str:
            try:
                await call(stub)
            except grpc.aio.AioRpcError as error:
                return _words(error)
            return ""

        found = await asyncio.gather(*(one(stub) for stub in stubs or self._stubs))
        return [words for words in found if words]


def _progress(state: pb.PartyState | str) -> object:
    """What differs from one look to the next while a party gets on. Connecting has a deadline of its own."""
    if isinstance(state, str):
        return state
    return (state.epoch, state.loading) if state.link_up else object()


def _words(error: BaseException | None) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return " ".join((error.details() or error.code().name.lower().replace("_", " ")).split())
    return str(error) or type(error).__name__
