"""What an owner with a certificate of the cluster, and bad intentions, does not get."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
from deployment.conftest import Cluster
from freediv.chaos import Scene
from freediv.cluster.certificates import Authority
from freediv.cluster.configuration import read_owner_config
from freediv.cluster.identity import Role, read_identity
from freediv.mpc.sharing.shares import Share, reconstruct, share
from freediv.owners.data_owner import infer
from freediv.owners.model_owner import prepare_offer
from freediv.wire import channels
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from tiny import SENTENCES

from .conftest import Sender, refusal, sender

T = TypeVar("T")
MARK = b"nobody is to read this, wherever it goes"


def attempt(cluster: Cluster, act: Callable[[Sender], Awaitable[T]]) -> T:
    async def run() -> T:
        async with AsyncExitStack() as stack:
            return await act(await sender(stack, cluster))

    return asyncio.run(run())


def connect(host: str, port: int, *, hang_up: bool) -> None:
    """As a stranger: with a handshake that has no certificate, or none at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with suppress(OSError), socket.create_connection((host, port), timeout=5) as plain:
        if not hang_up:
            context.wrap_socket(plain).close()


@contextmanager
def unharmed(cluster: Cluster, expected_labels: list[str], *, memory_bytes: int = 64 << 20) -> Iterator[None]:
    """Afterwards: the same model, the same files, little more memory, no mark in any log, and right answers."""
    scene = Scene(cluster.directory)
    infer(cluster.folder("data-owner-alice"), SENTENCES[:1])  # memory for answering is taken before
    files, models = listing(cluster.directory.parent), {state.model_id for state in scene.states()}
    memory = [scene.party(rank).memory_info().rss for rank in range(scene.size)]
    yield
    assert {state.model_id for state in scene.states()} == models
    grown = [scene.party(rank).memory_info().rss - memory[rank] for rank in range(scene.size)]
    assert max(grown) < memory_bytes, grown
    assert scene.left_behind() == ()
    assert listing(cluster.directory.parent) == files
    for party in scene.local.parties:
        assert MARK not in party.log.read_bytes()
    found = infer(cluster.folder("data-owner-alice"), SENTENCES)
    assert [one.name for one in found.predictions] == expected_labels


def listing(directory: Path) -> set[Path]:
    """All files, but for what a data owner keeps of a model that it asks for the first time."""
    return {
        path
        for path in directory.rglob("*")
        if not (path.name == "bundle" and path.parent.name.startswith("data-owner"))
    }


# --- choosing the program ---


def test_a_program_sent_with_a_request_is_not_run(cluster: Cluster, expected_labels: list[str]) -> None:
    """Fields that the protocol does not have are not even looked at: the answer is that of the party's own program."""
    program = b"\xfa\x06" + bytes([len(MARK)]) + MARK  # field 111, bytes

    async def act(bob: Sender) -> int:
        request_id = secrets.token_bytes(16)
        headers = [bob.header(rank, request_id=request_id) for rank in range(3)]
        smuggled = [pb.InferHeader.FromString(header.SerializeToString() + program) for header in headers]
        assert all(MARK in header.SerializeToString() for header in smuggled)
        calls = [await bob.send(rank, header) for rank, header in enumerate(smuggled)]
        shares = [await answer(sent.call) for sent in calls]
        return int(reconstruct(shares)[0])

    with unharmed(cluster, expected_labels):
        assert ("negative", "positive")[attempt(cluster, act)] == expected_labels[0]


async def answer(call: Any) -> Share:
    while (event := await call.read()) is not grpc.aio.EOF:
        if event.WhichOneof("content") == "result":
            chunks = [(await call.read()).data for _ in event.result.output.chunk_bytes]
            return Share(event.result.output.meta, tuple(chunks))
    raise AssertionError("no result came")


# --- overwriting the model ---


def load_header(bob: Sender, **changes: object) -> pb.LoadMessage:
    bundle = b"x" * 10
    values: dict[str, Any] = {
        "model_id": secrets.token_hex(16),
        "agreement": bob.config.digest(),
        "bundle_bytes": len(bundle),
        "bundle_sha256": hashlib.sha256(bundle).hexdigest(),
    }
    return pb.LoadMessage(header=pb.LoadHeader(**(values | changes)))


def test_the_model_in_use_is_not_overwritten(cluster: Cluster, tiny_model: Path, expected_labels: list[str]) -> None:
    bundle = prepare_offer(tiny_model).bundle

    async def act(bob: Sender) -> tuple[grpc.StatusCode, str]:
        digest = hashlib.sha256(bundle).hexdigest()
        header = load_header(bob, model_id=bob.served.model_id, bundle_bytes=len(bundle), bundle_sha256=digest)
        return await refusal(bob.model[1].Load(timeout=30), header, pb.LoadMessage(data=bundle))

    with unharmed(cluster, expected_labels):
        code, why = attempt(cluster, act)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "is already here" in why


def test_nobody_goes_on_with_anothers_upload_or_sees_it(
    cluster: Cluster, tiny_model: Path, expected_labels: list[str], tmp_path: Path
) -> None:
    """Not even with a model owner's certificate and the upload's number, where the certificate is for another key."""
    bundle, theirs = prepare_offer(tiny_model).bundle, tmp_path / "model-owner"
    Authority.open(cluster.directory / "authority", "test").issue(theirs, Role("test", "model-owner"))
    shutil.copy(cluster.folder("model-owner") / "config.yaml", theirs)
    model_id, digest = secrets.token_hex(16), hashlib.sha256(bundle).hexdigest()
    upload = Path("store", f"incoming-{model_id}")

    async def act(bob: Sender) -> tuple[grpc.StatusCode, str]:
        header = load_header(bob, model_id=model_id, bundle_bytes=len(bundle), bundle_sha256=digest)
        cut = await refusal(bob.model[1].Load(timeout=30), header, pb.LoadMessage(data=bundle))
        assert "end of the stream" in cut[1]
        kept = {path: path.read_bytes() for path in (cluster.folder("party-1") / upload).iterdir()}
        assert sorted(path.name for path in kept) == ["bundle", "owner"]
        config = read_owner_config(theirs)
        async with channels.channels(config, read_identity(config)) as opened:
            found = await refusal(rpc.ModelOwnerStub(opened[1]).Load(timeout=30), header)
            state = await rpc.StatusStub(opened[1]).GetStatus(pb.StatusRequest())
        assert model_id not in str(state)
        assert {path: path.read_bytes() for path in kept} == kept
        held = bob.model[1].Load(timeout=30)
        await held.write(header)
        assert await held.read() == pb.Held(bundle=True, parameters=0)  # its owner may
        await refusal(held, pb.LoadMessage(data=b"this is wrong, and ends it"))
        return found

    with unharmed(cluster, expected_labels):
        code, why = attempt(cluster, act)
    assert (code, why) == (grpc.StatusCode.FAILED_PRECONDITION, "another owner's upload has this id")


# --- reading another's result ---


def test_the_number_of_anothers_request_gives_nobody_its_result(cluster: Cluster, expected_labels: list[str]) -> None:
    async def both() -> tuple[grpc.StatusCode, str, int]:
        async with AsyncExitStack() as stack:
            alice, bob = await sender(stack, cluster, "alice"), await sender(stack, cluster, "bob")
            request_id = secrets.token_bytes(16)
            theirs = [await alice.send(rank, alice.header(rank, request_id=request_id)) for rank in (0, 1)]
            spying = await bob.send(0, bob.header(0, request_id=request_id))
            theirs.append(await alice.send(2, alice.header(2, request_id=request_id)))
            label = int(reconstruct([await answer(sent.call) for sent in theirs])[0])
            return *(await refusal(spying)), label

    with unharmed(cluster, expected_labels):
        code, why, label = asyncio.run(both())
    assert code == grpc.StatusCode.ABORTED
    assert "its shares did not reach party 1 and party 2" in why
    assert ("negative", "positive")[label] == expected_labels[0]


# --- answers that are not the model's ---


@pytest.mark.parametrize("odd", range(3))
def test_words_that_differ_between_the_parties_get_no_answer(
    cluster: Cluster, expected_labels: list[str], odd: int
) -> None:
    """Such an answer would be a sum with single words of the weights in it."""

    async def act(bob: Sender) -> list[tuple[grpc.StatusCode, str]]:
        other = {name: share(np.ones(own[0].shape)) for name, own in bob.shares.items()}
        request_id = secrets.token_bytes(16)
        for name, own in other.items():
            bob.shares[name][odd] = own[odd]
        calls = [await bob.send(rank, bob.header(rank, request_id=request_id)) for rank in range(3)]
        return [await refusal(call) for call in calls]

    with unharmed(cluster, expected_labels):
        refusals = attempt(cluster, act)
    assert {code for code, _ in refusals} == {grpc.StatusCode.ABORTED}
    assert all("shares that do not belong together" in why for _, why in refusals)


# --- paths of a client's choosing ---

NAMES = ["../../outside", "..", "/etc/passwd", "0" * 31 + "/", "0" * 32 + "\n", "A" * 32, ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_models_id_names_no_path(cluster: Cluster, expected_labels: list[str], name: str) -> None:
    async def act(bob: Sender) -> list[tuple[grpc.StatusCode, str]]:
        loading = await refusal(bob.model[1].Load(timeout=30), load_header(bob, model_id=name))
        activating = bob.model[0].Activate(pb.ActivateRequest(model_id=name), timeout=30)
        asking = await refusal(bob.data[1].Infer(timeout=30), pb.InferMessage(header=bob.header(1, model_id=name)))
        return [loading, (await activating.code(), await activating.details() or ""), asking]

    loading, activating, asking = attempt(cluster, act)
    assert loading == (grpc.StatusCode.FAILED_PRECONDITION, "a model's id is 32 hexadecimal digits")
    assert activating[0] == grpc.StatusCode.FAILED_PRECONDITION
    assert asking[0] == grpc.StatusCode.FAILED_PRECONDITION
    assert not (cluster.directory / "outside").exists()


def test_a_parameters_name_names_no_path(cluster: Cluster, tiny_model: Path, expected_labels: list[str]) -> None:
    bundle = prepare_offer(tiny_model).bundle

    async def act(bob: Sender) -> tuple[grpc.StatusCode, str]:
        digest = hashlib.sha256(bundle).hexdigest()
        header = load_header(bob, bundle_bytes=len(bundle), bundle_sha256=digest)
        outside = pb.LoadMessage(share=pb.ShareDescription(stage="../../..", name="outside", chunk_bytes=[4]))
        return await refusal(
            bob.model[1].Load(timeout=30), header, pb.LoadMessage(data=bundle), outside, pb.LoadMessage(data=b"1234")
        )

    with unharmed(cluster, expected_labels):
        code, why = attempt(cluster, act)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "is due" in why


# --- memory ---

HUGE = 1 << 45


def test_what_is_announced_too_large_is_refused_before_memory_is_taken(
    cluster: Cluster, tiny_model: Path, expected_labels: list[str]
) -> None:
    bundle = prepare_offer(tiny_model).bundle
    digest = hashlib.sha256(bundle).hexdigest()

    async def act(bob: Sender) -> dict[str, tuple[grpc.StatusCode, str]]:
        header = bob.header(1)
        share = pb.ShareDescription(stage="embedding", name="word", chunk_bytes=[HUGE])
        sound = load_header(bob, bundle_bytes=len(bundle), bundle_sha256=digest)
        first = sorted(header.inputs, key=lambda one: one.name)
        for one in first:
            one.chunk_bytes[:] = [HUGE]
        crowd = [pb.ShareDescription(name="x")] * 500_000
        infer, load = bob.data[1].Infer, bob.model[1].Load
        return {
            "a share": await refusal(infer(timeout=30), pb.InferMessage(header=header)),
            "many shares": await refusal(infer(timeout=30), pb.InferMessage(header=bob.header(1, inputs=crowd))),
            "a batch": await refusal(infer(timeout=30), pb.InferMessage(header=bob.header(1, batch=1 << 31))),
            "a length": await refusal(infer(timeout=30), pb.InferMessage(header=bob.header(1, length=1 << 31))),
            "a bundle": await refusal(load(timeout=30), load_header(bob, bundle_bytes=HUGE)),
            "a parameter": await refusal(
                load(timeout=30), sound, pb.LoadMessage(data=bundle), pb.LoadMessage(share=share)
            ),
        }

    with unharmed(cluster, expected_labels):
        found = attempt(cluster, act)
    assert {what: code for what, (code, _) in found.items()} == dict.fromkeys(
        found, grpc.StatusCode.INVALID_ARGUMENT
    ), found


def test_a_message_beyond_the_bound_is_refused(
    cluster: Cluster, expected_labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_bound = [option for option in channels._OPTIONS if option[0] != "grpc.max_send_message_length"]
    monkeypatch.setattr(channels, "_OPTIONS", (*without_bound, ("grpc.max_send_message_length", -1)))

    async def act(bob: Sender) -> tuple[grpc.StatusCode, str]:
        call = bob.data[1].Infer(timeout=30)
        return await refusal(call, pb.InferMessage(header=bob.header(1)), pb.InferMessage(data=bytes(5 << 20)))

    with unharmed(cluster, expected_labels):
        code, why = attempt(cluster, act)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, why


def test_more_bytes_than_announced_are_refused(cluster: Cluster, expected_labels: list[str]) -> None:
    async def act(bob: Sender) -> tuple[grpc.StatusCode, str]:
        header = bob.header(1)
        total = sum(sum(one.chunk_bytes) for one in header.inputs)
        call = bob.data[1].Infer(timeout=30)
        return await refusal(call, pb.InferMessage(header=header), pb.InferMessage(data=bytes(total + 1)))

    code, why = attempt(cluster, act)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "bytes came where" in why


# --- errors and logs ---


def test_no_error_and_no_log_repeats_a_share(cluster: Cluster, expected_labels: list[str]) -> None:
    async def act(bob: Sender) -> list[tuple[grpc.StatusCode, str]]:
        header = bob.header(1)
        for one in header.inputs:
            one.meta, one.chunk_bytes[:] = MARK, [len(MARK)]
        data = pb.InferMessage(data=MARK)
        infer, load = bob.data[1].Infer, bob.model[1].Load
        return [
            await refusal(infer(timeout=30), pb.InferMessage(header=header), data, data),
            await refusal(infer(timeout=30), data),
            await refusal(load(timeout=30), load_header(bob, bundle_bytes=len(MARK)), pb.LoadMessage(data=MARK)),
        ]

    with unharmed(cluster, expected_labels):
        for code, why in attempt(cluster, act):
            assert code == grpc.StatusCode.INVALID_ARGUMENT
            assert MARK.decode() not in why


@pytest.mark.alone
def test_thousands_of_connections_at_once_end_no_party(cluster: Cluster, expected_labels: list[str]) -> None:
    with unharmed(cluster, expected_labels), ThreadPoolExecutor(12) as strangers:
        for party in cluster.topology.parties:
            strangers.map(lambda n, to=party: connect(to.host, to.grpc_port, hang_up=n % 3 == 0), range(3000))
