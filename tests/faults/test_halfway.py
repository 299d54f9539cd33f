"""Requests that only half arrive, parties that start late, workers that hang: a clear error, then right answers."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from deployment.conftest import Cluster, MakeCluster
from freediv.chaos import Scene
from freediv.cluster.configuration import Limits, read_owner_config
from freediv.cluster.identity import read_identity
from freediv.errors import UserError
from freediv.model import input_shapes, prepare_inputs
from freediv.mpc.sharing.shares import share
from freediv.owners.model_owner import load
from freediv.owners.sentences import make_batches
from freediv.owners.served_model import fetch_model
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from freediv.wire.channels import channels
from freediv.wire.share_transfer import describe
from tiny import SENTENCES

from .conftest import ask, wait_for


def test_a_worker_killed_between_requests_costs_no_request(cluster: Cluster, expected_labels: list[str]) -> None:
    worker = Scene(cluster.directory).worker(2)
    worker.kill()
    worker.wait(60)
    assert ask(cluster) == expected_labels


def test_two_data_owners_at_once_each_get_their_own_answers(cluster: Cluster, expected_labels: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(ask, cluster, owner, sentences)
            for owner, sentences in (
                ("alice", SENTENCES),
                ("bob", SENTENCES[::-1]),
                ("alice", SENTENCES[:2]),
                ("bob", SENTENCES[3:]),
            )
        ]
        found = [one.result(300) for one in asked]
    assert found == [expected_labels, expected_labels[::-1], expected_labels[:2], expected_labels[3:]]


def test_a_request_that_reaches_two_parties_only_is_dropped_by_both(
    cluster: Cluster, expected_labels: list[str]
) -> None:
    errors = asyncio.run(_ask_halfway(cluster, complete=(0, 1)))
    assert [error.code() for error in errors] == [grpc.StatusCode.ABORTED] * 2
    for error in errors:
        assert "its shares did not reach party 2 within 5 s" in (error.details() or "")
    wait_for(lambda: all(state.waiting_requests == 0 for state in cluster.local.states()), "requests are let go")
    assert ask(cluster) == expected_labels


def test_a_request_withdrawn_at_one_party_is_dropped_by_the_others(
    cluster: Cluster, expected_labels: list[str]
) -> None:
    errors = asyncio.run(_ask_halfway(cluster, complete=(1, 2), begun=0))
    assert [error.code() for error in errors] == [grpc.StatusCode.ABORTED] * 2
    assert all("its owner withdrew the request" in (error.details() or "") for error in errors)
    assert ask(cluster) == expected_labels


async def _ask_halfway(
    cluster: Cluster, complete: tuple[int, ...], begun: int | None = None
) -> list[grpc.aio.AioRpcError]:
    """Send a request whole to some parties, and to one its header only, which is then withdrawn; the errors."""
    config = read_owner_config(cluster.folder("data-owner-alice"))
    async with channels(config, read_identity(config)) as opened:
        stubs = [rpc.DataOwnerStub(channel) for channel in opened]
        model = await fetch_model(config, stubs)
        [batch] = make_batches(SENTENCES[:1], model.reader, model.architecture, buckets=(16,), max_batch=1)
        inputs = prepare_inputs(model.architecture, batch.read, batch.mask)
        shares = {name: share(values) for name, values in inputs.items()}
        request_id = secrets.token_bytes(16)

        async def begin(rank: int) -> Any:
            call = stubs[rank].Infer(timeout=60)
            described = [describe(name, own[rank]) for name, own in shares.items()]
            header = pb.InferHeader(
                request_id=request_id, model_id=model.model_id, batch=1, length=16, inputs=described
            )
            await call.write(pb.InferMessage(header=header))
            return call

        async def finish(rank: int) -> Any:
            call = await begin(rank)
            for own in shares.values():
                for chunk in own[rank].chunks:
                    await call.write(pb.InferMessage(data=chunk))
            await call.done_writing()
            queued = await call.read()
            assert queued.WhichOneof("content") == "queued"
            return call

        async def error_of(call: Any) -> grpc.aio.AioRpcError:
            try:
                await call.read()
            except grpc.aio.AioRpcError as error:
                return error
            raise AssertionError("a request that not all parties have was answered")

        first = await begin(begun) if begun is not None else None
        calls = [await finish(rank) for rank in complete]
        if first is not None:
            first.cancel()
        return list(await asyncio.gather(*(error_of(call) for call in calls)))


def test_a_data_owner_that_goes_away_leaves_nothing_behind(cluster: Cluster, expected_labels: list[str]) -> None:
    async def vanish() -> None:
        config = read_owner_config(cluster.folder("data-owner-bob"))
        async with channels(config, read_identity(config)) as opened:
            stubs = [rpc.DataOwnerStub(channel) for channel in opened]
            model = await fetch_model(config, stubs)
            shapes = input_shapes(model.architecture, 1, 16)
            header = pb.InferHeader(
                request_id=secrets.token_bytes(16),
                model_id=model.model_id,
                batch=1,
                length=16,
                inputs=[pb.ShareDescription(name=name, meta=b"{}", chunk_bytes=[64]) for name in shapes],
            )
            calls = [stub.Infer(timeout=60) for stub in stubs]
            for call in calls:
                await call.write(pb.InferMessage(header=header))
            await asyncio.to_thread(
                wait_for, lambda: all(s.waiting_requests == 1 for s in cluster.local.states()), "headers arrive"
            )

    asyncio.run(vanish())
    wait_for(lambda: all(state.waiting_requests == 0 for state in cluster.local.states()), "requests are let go")
    assert ask(cluster) == expected_labels


@pytest.fixture(scope="module")
def bare(make_cluster: MakeCluster) -> Cluster:
    """A cluster that nobody has loaded a model into, and that nobody has started."""
    return make_cluster(limits=Limits(receive_s=5))


def test_a_party_started_late_is_waited_for(bare: Cluster) -> None:
    bare.start(0, 1)
    wait_for(lambda: [s.answers for s in bare.local.states()] == [True, True, False], "two parties answer")
    assert not any(state.link_up for state in bare.local.states())
    wait_for(lambda: "party 2" in bare.local.states()[0].problem, "the one that is missing is named")
    bare.up(2)
    assert all(state.link_up for state in bare.local.states())


def test_a_worker_that_hangs_while_it_loads_is_named_and_replaced(bare: Cluster, tiny_model: Path) -> None:
    bare.up()
    hanging = Scene(bare.directory).worker(2)
    hanging.suspend()
    with pytest.raises(UserError, match="nothing was switched: party 2 got no further for 5 s"):
        load(bare.folder("model-owner"), tiny_model)
    assert load(bare.folder("model-owner"), tiny_model).model_id == bare.local.states()[2].loaded
    assert ended(hanging)


def test_stopping_leaves_nothing_running_even_after_a_kill(bare: Cluster) -> None:
    bare.up()
    scene = Scene(bare.directory)
    workers = [scene.worker(rank) for rank in range(scene.size)]
    scene.party(0).kill()  # its worker has to notice by itself
    bare.local.stop()
    assert bare.local.strays() == []
    assert all(map(ended, workers))
    bare.local.start()  # its ports are free again
    bare.local.stop()


def ended(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE  # somebody else's to collect
    return True
