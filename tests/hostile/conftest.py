"""A deployment, and a data owner who says what they like."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from deployment.conftest import Cluster, MakeCluster, clusters, expected, expected_labels, tiny_model
from deployment.tiny import SENTENCES
from freediv.roles import protocol_pb2 as pb
from freediv.roles import protocol_pb2_grpc as rpc
from freediv.roles.channels import channels
from freediv.roles.config import Limits, OwnerConfig, read_owner_config
from freediv.roles.identity import read_identity
from freediv.roles.model_owner import load
from freediv.roles.sentences import make_batches
from freediv.roles.served import ServedModel, fetch_model
from freediv.roles.transfer import describe, pieces
from freediv.secure.shares import Share, share
from freediv.transformer import prepare_inputs

__all__ = ["expected", "expected_labels", "tiny_model"]


@pytest.fixture(scope="package")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    with clusters(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="package")
def cluster(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    cluster = make_cluster(output="label", data_owners=("alice", "bob"), limits=Limits(arrival_s=5))
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

    async def send(self, rank: int, header: pb.InferHeader) -> Any:
        """A whole request to one party; the call, whose events nobody has read."""
        call = self.data[rank].Infer(timeout=60)
        await call.write(pb.InferMessage(header=header))
        for own in self.shares.values():
            for piece in pieces(own[rank].chunks):
                await call.write(pb.InferMessage(data=piece))
        await call.done_writing()
        return call


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
    [batch] = make_batches(SENTENCES[:1], served.tokenizer, buckets=(16,), max_batch=1, vocabulary=99, pad_token=0)
    inputs = prepare_inputs(served.architecture, batch.token_ids, batch.mask)
    return Sender(config, data, model, served, {name: share(values) for name, values in inputs.items()})


async def refusal(call: Any, *messages: Any) -> tuple[grpc.StatusCode, str]:
    """Send messages, and read how the party ends the call."""
    try:
        for message in messages:
            await call.write(message)
        await call.done_writing()
        while hasattr(call, "read") and await call.read() is not grpc.aio.EOF:
            pass
    except (grpc.aio.AioRpcError, grpc.aio.InternalError):
        pass
    except Exception as error:  # the call is over, and takes no more
        if type(error).__name__ != "InvalidStateError":
            raise
    return await call.code(), await call.details() or ""
