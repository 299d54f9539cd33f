"""Calls that an owner opens and leaves: what they hold at a party, and for how long."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from deployment.conftest import Cluster
from freediv.chaos import Scene
from freediv.cluster.configuration import OwnerConfig, read_owner_config
from freediv.cluster.identity import read_identity
from freediv.owners.data_owner import infer
from freediv.owners.model_owner import load, rollback
from freediv.party import answering
from freediv.party.answering import next_message, send
from freediv.party.requests import Refused
from freediv.wire import channels
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from tiny import SENTENCES, make_tiny_model

CONNECTIONS, OF_EACH = 4, 75
"""Fewer of each than the calls that one connection may have: what refuses them is not gRPC's own bound."""
MOST_CALLS = 8
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    # What nobody reads stays the party's: a window that grows takes in whole answers at the caller's end.
    ("grpc.http2.bdp_probe", 0),
)


@pytest.fixture(scope="module")
def large_bundle(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """While a model is served whose public word table has 8 MB."""
    model = make_tiny_model(tmp_path_factory.mktemp("large"), embedding="public", vocabulary=60_000)
    load(cluster.folder("model-owner"), model)
    yield
    rollback(cluster.folder("model-owner"))


async def connections(stack: AsyncExitStack, config: OwnerConfig, rank: int) -> list[grpc.aio.Channel]:
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "_OPTIONS", (*channels._OPTIONS, *OPTIONS))
        for _ in range(CONNECTIONS):
            opened.append(channels.open_channel(config, config.parties[rank], read_identity(config)))
            stack.push_async_callback(opened[-1].close, None)
    return opened


async def codes(calls: list[Any], left: int) -> Counter[str]:
    """How calls end, until so many are left."""
    ended = [asyncio.ensure_future(call.code()) for call in calls]
    for refused in itertools.islice(asyncio.as_completed(ended, timeout=60), len(calls) - left):
        await refused
    await asyncio.sleep(0.5)  # for one that should not end
    found = Counter(one.result().name if one.done() else "OPEN" for one in ended)
    for one in ended:
        one.cancel()
    return found


def test_models_that_nobody_reads_take_no_memory(cluster: Cluster, large_bundle: None) -> None:
    """Hundreds of GetModel calls over several connections, none of them read: an owner has a few at a time."""
    scene = Scene(cluster.directory)
    config = read_owner_config(cluster.folder("data-owner-bob"))
    infer(cluster.folder("data-owner-alice"), SENTENCES[:1])

    async def attack() -> tuple[Counter[str], int]:
        async with AsyncExitStack() as stack:
            stubs = [rpc.DataOwnerStub(one) for one in await connections(stack, config, 1)]
            request = pb.GetModelRequest(agreement=config.digest(), with_bundle=True)
            before = scene.party(1).memory_info().rss
            calls = [stub.GetModel(request) for _ in range(OF_EACH) for stub in stubs]
            ended = await codes(calls, MOST_CALLS)
            await asyncio.to_thread(infer, cluster.folder("data-owner-alice"), SENTENCES[:1])
            return ended, scene.party(1).memory_info().rss - before

    ended, grown = asyncio.run(attack())
    assert ended == {"RESOURCE_EXHAUSTED": CONNECTIONS * OF_EACH - MOST_CALLS, "OPEN": MOST_CALLS}
    assert grown < 64 << 20
    assert len(infer(cluster.folder("data-owner-bob"), SENTENCES[:1]).predictions) == 1  # nothing of it stays


@pytest.mark.parametrize("method", ["Infer", "GetModel", "GetStatus"])
def test_calls_without_a_message_are_counted_and_leave_others_room(cluster: Cluster, method: str) -> None:
    """Calls opened and then silent, also of methods with one message: counted before that, and ended within seconds."""
    config = read_owner_config(cluster.folder("data-owner-bob"))
    service = "Status" if method == "GetStatus" else "DataOwner"
    left = 16 if method == "Infer" else MOST_CALLS  # of 32 places half, while nobody else asks

    async def attack() -> Counter[str]:
        async with AsyncExitStack() as stack:
            opened = await connections(stack, config, 1)
            # To gRPC any method is a stream of messages, if the caller wants it so.
            calls = [one.stream_stream(f"/freediv.v1.{service}/{method}")() for _ in range(25) for one in opened]
            ended = await codes(calls, left)
            await asyncio.to_thread(infer, cluster.folder("data-owner-alice"), SENTENCES[:1])
            return ended

    ended = asyncio.run(attack())
    assert ended == {"RESOURCE_EXHAUSTED": 100 - left, "OPEN": left}


def test_what_is_no_message_is_refused_in_one_line(cluster: Cluster) -> None:
    """Bytes that no method reads, in place of its message: refused, and no traceback in a log."""
    config = read_owner_config(cluster.folder("data-owner-bob"))

    async def attack() -> set[tuple[grpc.StatusCode, str]]:
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(channels.channels(config, read_identity(config)))
            methods = ("DataOwner/Infer", "DataOwner/GetModel", "Status/GetStatus")
            calls = [opened[1].stream_stream(f"/freediv.v1.{method}")() for method in methods]
            for call in calls:
                await call.write(b"\xff" * 9)
            return {(await call.code(), await call.details()) for call in calls}

    log = cluster.local.parties[1].log
    before = len(log.read_bytes())
    assert asyncio.run(attack()) == {(grpc.StatusCode.INVALID_ARGUMENT, "a message came that cannot be read")}
    assert b"Traceback" not in log.read_bytes()[before:]


class Silent:
    """A call whose caller neither writes nor reads."""

    async def read(self) -> None:
        await asyncio.sleep(60)

    async def write(self, message: object) -> None:
        await asyncio.sleep(60)


def test_neither_a_silent_caller_nor_one_that_does_not_read_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    context: Any = Silent()
    monkeypatch.setattr(answering, "WRITE_S", 0.1)

    async def both() -> None:
        with pytest.raises(Refused, match=r"nothing came for 0.1 s") as caught:
            await next_message(context, 0.1)
        assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(Refused, match=r"nothing was read for 0.1 s"):
            await send(context, pb.ModelMessage())

    asyncio.run(asyncio.wait_for(both(), 10))
