"""Rank 0, without the parties: how long it waits for requests to share a run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from freediv.cluster.batching import Batching
from freediv.cluster.configuration import PartyConfig, Peer
from freediv.party.order.arrivals import Arrival
from freediv.party.order.coordinator import Coordinator
from freediv.party.order.turns import Turns
from freediv.wire import protocol_pb2 as pb

AT_ONCE, FOR_EVER = 0, 60_000


def coordinator(size: int, wait_ms: int) -> Coordinator:
    parties = tuple(Peer(rank=r, host="127.0.0.1", grpc_port=7000 + r, link_port=7100 + r) for r in range(3))
    config = PartyConfig(
        cluster="lab", rank=0, listen="127.0.0.1", metrics_port=7200, parties=parties,
        batching=Batching(size=size, wait_ms=wait_ms),
    )  # fmt: skip
    nothing: Any = None  # it connects to nobody here
    return Coordinator(config, nothing, nothing)


def arrive(one: Coordinator, owner: str, batch: int = 1, length: int = 16) -> Turns:
    one._ready(Arrival(f"data-owner/{owner}/0", "m", batch, length, ready=time.monotonic()))
    job = one._jobs[-1]
    assert isinstance(job, Turns)
    return job


def test_it_waits_until_a_run_is_full() -> None:
    async def run() -> None:
        one = coordinator(4, FOR_EVER)
        turns = arrive(one, "alice")
        filling = asyncio.ensure_future(one._fill(turns))
        for owner, more in (("bob", {"batch": 2}), ("carol", {"length": 32})):
            arrive(one, owner, **more)
            await asyncio.sleep(0)
            assert not filling.done()
        arrive(one, "dave")
        await asyncio.wait_for(filling, 30)
        assert [arrival.batch for arrival in turns.take(4)] == [1, 2, 1]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("size", "wait_ms", "batch"), [(8, AT_ONCE, 1), (4, FOR_EVER, 4), (4, FOR_EVER, 7), (1, FOR_EVER, 1)]
)
def test_it_does_not_wait_where_there_is_nothing_to_wait_for(size: int, wait_ms: int, batch: int) -> None:
    async def run() -> None:
        one = coordinator(size, wait_ms)
        await asyncio.wait_for(one._fill(arrive(one, "alice", batch)), 30)

    asyncio.run(run())


def test_a_switch_comes_after_the_requests_before_it_and_before_those_after_it() -> None:
    async def run() -> None:
        one = coordinator(8, AT_ONCE)
        arrive(one, "alice")
        arrive(one, "bob")
        switching = asyncio.ensure_future(one.activate("0" * 32))
        await asyncio.sleep(0)
        arrive(one, "carol")
        assert [len(job) if isinstance(job, Turns) else "switch" for job in one._jobs] == [2, "switch", 1]
        switching.cancel()

    asyncio.run(run())


def test_a_request_that_runs_goes_on_whatever_its_owner_sends_under_its_id() -> None:
    """Sending it again to one party would otherwise have all drop it, when the others have nearly answered."""

    async def run() -> None:
        one = coordinator(1, AT_ONCE)
        told = pb.ArrivedRequest(request="data-owner/alice/0", model_id="m", batch=1, length=16)
        assert [one.arrived(rank, told).refused for rank in range(3)] == ["", "", ""]
        one._running = frozenset((told.request,))
        assert one.arrived(2, told).refused == "a request with this id is under way"
        assert not one._arrivals.is_over(told.request)

    asyncio.run(run())
