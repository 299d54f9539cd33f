"""What a data owner takes from parties that answer as they like: a refusal in one line, and no memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import resource
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from freediv.cluster.addresses import join_host_port
from freediv.cluster.configuration import read_owner_config, read_party_config
from freediv.cluster.credentials import Credentials
from freediv.deploy.demonstration import free_topology
from freediv.deploy.render import render
from freediv.errors import UserError
from freediv.mpc.sharing.shares import Share, share
from freediv.owners.data_owner import Answers, classify
from freediv.owners.model_owner import prepare_offer
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from freediv.wire.share_transfer import describe
from tiny import SENTENCES

MODEL = "0" * 32
Lie = Callable[[int, int], Share]
"""A share of the answer, for a rank and a number of sentences."""


class Liar(rpc.DataOwnerServicer):
    """A party that serves a model, and answers every request with a share of its own making."""

    def __init__(self, rank: int, bundle: bytes, lie: Lie) -> None:
        self._rank, self._bundle, self._lie = rank, bundle, lie

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> None:  # noqa: N802
        digest = hashlib.sha256(self._bundle).hexdigest()
        description = pb.ModelDescription(model_id=MODEL, bundle_bytes=len(self._bundle), bundle_sha256=digest)
        await context.write(pb.ModelMessage(description=description))
        if request.with_bundle:
            await context.write(pb.ModelMessage(data=self._bundle))

    async def Infer(self, _: Any, context: Any) -> None:  # noqa: N802
        header = (await context.read()).header
        await context.send_initial_metadata((("admitted", "yes"),))
        await context.write(pb.InferEvent(queued=pb.Queued()))
        while await context.read() is not grpc.aio.EOF:
            pass
        answer = self._lie(self._rank, header.batch)
        await context.write(pb.InferEvent(result=pb.Result(output=describe("output", answer))))
        for chunk in answer.chunks:
            await context.write(pb.InferEvent(data=chunk))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("liars") / "rendered"
    render(free_topology("test"), directory)
    return directory


def ask(folders: Path, model: Path, lie: Lie) -> Answers:
    async def run() -> Answers:
        bundle = prepare_offer(model).bundle
        async with AsyncExitStack() as stack:
            for rank in range(3):
                config = read_party_config(folders / f"party-{rank}")
                server = grpc.aio.server()
                rpc.add_DataOwnerServicer_to_server(Liar(rank, bundle, lie), server)
                address = join_host_port("127.0.0.1", config.me.grpc_port)
                server.add_secure_port(address, Credentials(config).for_server())
                await server.start()
                stack.push_async_callback(server.stop, 0)
            return await classify(read_owner_config(folders / "data-owner"), SENTENCES[:2])

    return asyncio.run(run())


def described(part: Share, **changes: object) -> Share:
    return Share(json.dumps(json.loads(part.meta) | changes).encode(), part.chunks)


def shares_of(values: list[float]) -> list[Share]:
    return share(np.array(values))


def test_an_answer_in_bounds_is_taken(folders: Path, tiny_model: Path) -> None:
    """The liars are believed where they could be right: no data owner can tell (they are semi-honest)."""
    parts = shares_of([1 / 2**18, 0])  # the words of a label are not scaled
    found = ask(folders, tiny_model, lambda rank, batch: as_labels(parts[rank]))
    assert [one.name for one in found.predictions] == ["positive", "negative"]


def as_labels(part: Share) -> Share:
    """The same words, as whole numbers: the form in which parties give labels."""
    from spu import libspu

    held = part.to_spu()
    meta = libspu.ValueMeta()
    meta.ParseFromString(held.meta)
    meta.data_type = libspu.DataType.DT_I32
    held.meta = meta.SerializeToString()
    return Share.from_spu(held)


@pytest.mark.parametrize("label", [-1, 2, 2**31 - 1])
def test_a_label_that_the_model_does_not_have_is_refused(folders: Path, tiny_model: Path, label: int) -> None:
    parts = shares_of([label / 2**18, 0])
    with pytest.raises(UserError, match="no label that the model has"):
        ask(folders, tiny_model, lambda rank, batch: as_labels(parts[rank]))


def test_an_answer_of_another_shape_takes_no_memory(folders: Path, tiny_model: Path) -> None:
    """Sixteen bytes may stand for any number of random words."""
    part = share(np.zeros(2))[1]
    assert set(json.loads(part.meta)["parts"]) == {"seed"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"an answer that cannot be read \(it has shape"):
        ask(folders, tiny_model, lambda rank, batch: described(part, shape=[1 << 35]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize(
    "meta", [b"", b"{}", b"\xff" * 50, b"[" * 50_000, b'{"shape": [2], "parts": ["spu"], "spu": "00"}']
)
def test_an_answer_that_is_none_is_refused_in_one_line(folders: Path, tiny_model: Path, meta: bytes) -> None:
    with pytest.raises(UserError) as caught:
        ask(folders, tiny_model, lambda rank, batch: Share(meta, (b"xy",)))
    assert "\n" not in str(caught.value)
