"""What a party tells of itself, by the role of who asks."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from deployment.conftest import Cluster
from freediv.cluster.configuration import OwnerConfig, PartyConfig, read_owner_config, read_party_config
from freediv.cluster.identity import read_identity
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from freediv.wire.channels import open_channel

from .conftest import sender

TO_ALL = {"rank", "agreement", "link_up", "model_id", "loaded", "loading", "problem"}
TO_DATA_OWNERS = TO_ALL | {"quotas"}
TO_MODEL_OWNERS = TO_ALL | {"stored", "beside"}


async def told(stack: AsyncExitStack, folder: Path) -> list[pb.PartyState]:
    config: OwnerConfig | PartyConfig = (
        read_party_config(folder) if folder.name.startswith("party") else read_owner_config(folder)
    )
    found = []
    for party in config.parties:
        channel = open_channel(config, party, read_identity(config))
        stack.push_async_callback(channel.close, None)
        found.append(await rpc.StatusStub(channel).GetStatus(pb.StatusRequest()))
    return found


def names(state: pb.PartyState) -> set[str]:
    return {field.name for field, _ in state.ListFields()}


def test_nobody_but_operators_is_told_when_a_data_owner_asks(cluster: Cluster) -> None:
    """Asking for every party's status while another owner's request waits: it is told of to parties alone."""
    watchers = [cluster.folder(name) for name in ("model-owner", "data-owner-bob", "data-owner-carol", "party-0")]

    async def watch() -> list[list[list[pb.PartyState]]]:
        async with AsyncExitStack() as stack:
            alice = await sender(stack, cluster, "alice")
            before = [await told(stack, folder) for folder in watchers]
            calls = [(await alice.send(rank, alice.header(rank))).call for rank in range(2)]  # ids of their own
            for call in calls:
                assert (await call.read()).WhichOneof("content") == "queued"
            during = [await told(stack, folder) for folder in watchers]
            for call in calls:
                call.cancel()
            return [before, during]

    before, during = asyncio.run(watch())
    assert before[:3] == during[:3]
    model_owner, bob, carol, operator = during
    assert all(names(state) <= TO_MODEL_OWNERS and "stored" in names(state) for state in model_owner)
    assert all(names(state) <= TO_ALL for state in bob)
    assert all(names(state) <= TO_DATA_OWNERS for state in carol)
    assert {quota.owner for state in carol for quota in state.quotas} == {"data-owner/carol"}
    assert [state.waiting_requests for state in operator] == [1, 1, 0]
    assert {quota.owner for quota in operator[0].quotas} >= {"data-owner/carol", "data-owner/dave"}
    assert all(state.memory_bytes and state.worker_pid and state.epoch for state in operator)
