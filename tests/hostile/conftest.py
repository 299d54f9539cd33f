"""A deployment, and a data owner who says what they like."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from deployment.conftest import Cluster, MakeCluster, clusters, expected, expected_labels, tiny_model
from freediv.cluster.configuration import Limits, OwnerConfig, read_owner_config
from freediv.cluster.identity import read_identity
from freediv.model import prepare_inputs
from freediv.mpc.sharing.shares import Share, share
from freediv.owners.model_owner import load
from freediv.owners.sentences import make_batches
from freediv.owners.served_model import ServedModel, fetch_model
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from freediv.wire.channels import channels
from freediv.wire.ending import Ending
from freediv.wire.share_transfer import describe, pieces
from tiny import SENTENCES

__all__ = ["expected", "expected_labels", "tiny_model"]

BUDGET, RATE = {"budget": 6}, {"sentences_per_minute": 8}
"""Carol's and Dave's quotas; of a minute's sentences at least one request's, which has 8 at most, may come at once."""


@pytest.fixture(scope="package")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    with clusters(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="package")
def cluster(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    owners = ("alice", "bob", {"name": "carol", "quota": BUDGET}, {"name": "dave", "quota": RATE})
    cluster = make_cluster(output="label", lookup="rows", data_owners=owners, max_batch=8, limits=Limits(arrival_s=5))
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    return cluster


@dataclass
class Sender:
    """One owner's connections to all parties, and a sound request to change at will."""

    config: OwnerConfig
    data: list[Any]
    model: list[Any]
    served: ServedModel
    shares: dict[str, list[Share]]

    def header(self, rank: int, **changes: object) -> pb.InferHeader:
        values: dict[str, Any] = {
            "request_id": secrets.token_bytes(16),
            "model_id": self.served.model_id,
            "batch": 1,
            "length": 16,
            "inputs": [describe(name, own[rank]) for name, own in self.shares.items()],
        }
        return pb.InferHeader(**(values | changes))

    async def send(self, rank: int, header: pb.InferHeader) -> Ending:
        """A whole request to one party, or as much as it takes before it refuses; nobody has read the call's events."""
        sent = Ending(self.data[rank].Infer(timeout=60))
        chunks = [piece for own in self.shares.values() for piece in pieces(own[rank].chunks)]
        await write(sent.call, pb.InferMessage(header=header), *(pb.InferMessage(data=piece) for piece in chunks))
        return sent


async def sender(stack: AsyncExitStack, cluster: Cluster, owner: str = "bob") -> Sender:
    """As a data owner; its stubs for a model owner's methods have the model owner's certificate."""
    config = read_owner_config(cluster.folder(f"data-owner-{owner}"))
    opened = await stack.enter_async_context(channels(config, read_identity(config)))
    data = [rpc.DataOwnerStub(channel) for channel in opened]
    theirs = read_owner_config(cluster.folder("model-owner"))
    model = [
        rpc.ModelOwnerStub(one) for one in await stack.enter_async_context(channels(theirs, read_identity(theirs)))
    ]
    served = await fetch_model(config, data)
    [batch] = make_batches(SENTENCES[:1], served.reader, served.architecture, buckets=(16,), max_batch=1)
    inputs = prepare_inputs(served.architecture, batch.read, batch.mask)
    return Sender(config, data, model, served, {name: share(values) for name, values in inputs.items()})


async def write(call: Any, *messages: Any) -> None:
    """Send messages, the last of this call, until the party ends it: reading says why it does."""
    with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
        for message in messages:
            await call.write(message)
        await call.done_writing()


async def refusal(call: Any, *messages: Any) -> tuple[grpc.StatusCode, str]:
    """Send messages, and read how the party ends the call."""
    ending = call if isinstance(call, Ending) else Ending(call)
    call = ending.call
    await write(call, *messages)
    with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.InternalError):
        while hasattr(call, "read") and await call.read() is not grpc.aio.EOF:
            pass
    over = await call.code(), await call.details() or ""
    return over if ending.error is None else (ending.error.code(), ending.error.details() or "")
