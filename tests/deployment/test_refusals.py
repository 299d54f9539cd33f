"""What users get wrong: one line, exit status 2, and nothing changed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from freediv.cluster.configuration import OwnerConfig, PartyConfig, read_owner_config, read_party_config
from freediv.cluster.identity import Identity, read_identity
from freediv.deploy.render import render
from freediv.errors import UserError
from freediv.model import read_model
from freediv.owners.data_owner import infer
from freediv.owners.model_owner import load
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from freediv.wire.channels import explain, open_channel
from tiny import SENTENCES, make_tiny_model

from .conftest import Cluster, MakeCluster, assert_one_line_error, run_command


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    cluster = make_cluster(buckets=(16, 32))
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    return cluster


@pytest.fixture(scope="module")
def other(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another cluster of the same name, at the same addresses: all but its authority is alike."""
    directory = tmp_path_factory.mktemp("other") / "rendered"
    render(cluster.topology, directory)
    return directory


CallMethod = Callable[[Any], Any]


def _status_of(config: PartyConfig | OwnerConfig, rank: int, call: CallMethod) -> grpc.aio.AioRpcError | None:
    """Make one call to a party with a role's own certificate; the error, if any."""

    async def make() -> grpc.aio.AioRpcError | None:
        channel = open_channel(config, config.parties[rank], read_identity(config))
        try:
            made = call(channel)
            await (made.read() if hasattr(made, "read") else made)
        except grpc.aio.AioRpcError as error:
            return error
        finally:
            await channel.close(None)
        return None

    return asyncio.run(make())


CALLS: dict[str, CallMethod] = {
    "Execute": lambda channel: rpc.PeerStub(channel).Execute(pb.ExecuteRequest(epoch=1), timeout=20),
    "Establish": lambda channel: rpc.PeerStub(channel).Establish(pb.EstablishRequest(epoch=9), timeout=20),
    "Arrived": lambda channel: rpc.PeerStub(channel).Arrived(pb.ArrivedRequest(request="x"), timeout=20),
    "GetModel": lambda channel: rpc.DataOwnerStub(channel).GetModel(pb.GetModelRequest(), timeout=20),
    "Infer": lambda channel: rpc.DataOwnerStub(channel).Infer(iter(()), timeout=20),
    "Load": lambda channel: rpc.ModelOwnerStub(channel).Load(iter(()), timeout=20),
    "Activate": lambda channel: rpc.ModelOwnerStub(channel).Activate(pb.ActivateRequest(model_id="0" * 32), timeout=20),
    "GetStatus": lambda channel: rpc.StatusStub(channel).GetStatus(pb.StatusRequest(), timeout=20),
}


@pytest.mark.parametrize(
    ("role", "rank", "method"),
    [
        ("data-owner", 0, "Execute"),
        ("data-owner", 1, "Establish"),
        ("data-owner", 0, "Arrived"),
        ("data-owner", 2, "Load"),
        ("data-owner", 0, "Activate"),
        ("model-owner", 0, "GetModel"),
        ("model-owner", 1, "Infer"),
        ("model-owner", 2, "Execute"),
        ("party-1", 2, "Execute"),  # rank 0 alone decides
        ("party-1", 2, "Establish"),
        ("party-1", 2, "Arrived"),  # nobody but rank 0 is told
        ("party-0", 0, "Load"),
        ("party-0", 0, "Infer"),
    ],
)
def test_a_role_may_call_only_what_is_its_own(cluster: Cluster, role: str, rank: int, method: str) -> None:
    folder = cluster.folder(role)
    config = read_party_config(folder) if role.startswith("party") else read_owner_config(folder)
    error = _status_of(config, rank, CALLS[method])
    assert error is not None
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "your certificate is for" in (error.details() or "") or "is answered by party/0" in (error.details() or "")


@pytest.mark.parametrize("role", ["data-owner", "model-owner", "party-2"])
def test_every_role_may_ask_for_the_status(cluster: Cluster, role: str) -> None:
    folder = cluster.folder(role)
    config = read_party_config(folder) if role.startswith("party") else read_owner_config(folder)
    assert _status_of(config, 1, CALLS["GetStatus"]) is None


def test_the_wrong_folder_is_one_clear_line(cluster: Cluster, tiny_model: Path) -> None:
    done = run_command("infer", cluster.folder("model-owner"), "--text", "a good film")
    assert_one_line_error(done, "is for a data owner", "your certificate is for model-owner")
    done = run_command("load", cluster.folder("data-owner"), tiny_model)
    assert_one_line_error(done, "is for a model owner", "your certificate is for data-owner")


def test_a_folder_of_another_cluster_is_one_clear_line(other: Path) -> None:
    done = run_command("infer", other, "--text", "a good film")
    assert_one_line_error(done, "certificate of another cluster")


def test_a_certificate_of_another_cluster_in_the_folder_is_named(cluster: Cluster, other: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(cluster.folder("data-owner"), folder)
    for name in ("certificate.pem", "key.pem"):
        shutil.copy(other / "data-owner" / name, folder / name)
    with pytest.raises(UserError, match=r"certificate.pem: is a certificate of another cluster"):
        infer(folder, SENTENCES)


def test_a_party_refuses_a_certificate_of_another_cluster(cluster: Cluster, other: Path) -> None:
    config = read_owner_config(cluster.folder("data-owner"))
    ours, theirs = read_identity(config), read_identity(read_owner_config(other / "data-owner"))
    forged = Identity(ours.role, ours.ca, theirs.certificate, theirs.key)

    async def ask() -> grpc.aio.AioRpcError:
        channel = open_channel(config, config.parties[1], forged)
        try:
            await rpc.StatusStub(channel).GetStatus(pb.StatusRequest(), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error
        finally:
            await channel.close(None)
        raise AssertionError("a stranger was answered")

    assert asyncio.run(ask()).code() == grpc.StatusCode.UNAVAILABLE


def test_a_party_at_another_partys_address_is_not_taken_for_it(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "swapped"
    shutil.copytree(cluster.folder("data-owner"), folder)
    text = (folder / "config.yaml").read_text()
    ports = [party.grpc_port for party in cluster.topology.parties]
    for old, new in ((ports[1], "FIRST"), (ports[2], ports[1]), ("FIRST", ports[2])):
        text = text.replace(str(old), str(new))
    (folder / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"a certificate that is not party [12]'s"):
        infer(folder, SENTENCES)


def test_a_sentence_beyond_the_longest_bucket_is_one_clear_line(cluster: Cluster) -> None:
    secret = "honest " * 40
    done = run_command("infer", cluster.directory, "--text", "a good film", "--text", secret)
    assert_one_line_error(done, "sentence 2 has 42 word pieces", "at most 32", "shorten it")
    assert "honest" not in done.stderr


@pytest.mark.parametrize(
    ("content", "part"), [(b"", "is empty"), (b"\n \n", "is empty"), (b"\xff\xfe\x00", "is not UTF-8")]
)
def test_a_file_without_sentences_is_one_clear_line(
    cluster: Cluster, tmp_path: Path, content: bytes, part: str
) -> None:
    path = tmp_path / "sentences.txt"
    path.write_bytes(content)
    assert_one_line_error(run_command("infer", cluster.directory, "--file", path), "sentences.txt", part)


def test_what_is_not_there_is_one_clear_line(cluster: Cluster, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert_one_line_error(run_command("infer", cluster.directory, "--file", gone / "x.txt"), "x.txt", "no such file")
    assert_one_line_error(run_command("infer", gone, "--text", "a film"), "no such directory")
    assert_one_line_error(run_command("load", cluster.directory, gone), "not a model directory")
    assert_one_line_error(run_command("status", gone), "neither a rendered directory nor a role's folder")
    assert_one_line_error(run_command("up", "--local", gone), "holds no party's folder")
    assert_one_line_error(run_command("party", "--config", gone), "no such file")
    assert_one_line_error(run_command("infer", cluster.directory), "nothing to classify")


@pytest.mark.parametrize("headroom", [None, -3.0])
def test_a_model_without_headroom_is_refused_unless_asked_for(
    cluster: Cluster, tmp_path: Path, headroom: float | None
) -> None:
    """Nobody measured it, or it has none."""
    model = make_tiny_model(tmp_path / "unsafe", headroom=headroom)
    assert read_model(model).certificate.headroom_bits == headroom
    assert_one_line_error(run_command("load", cluster.directory, model), "headroom", "--without-headroom")
    before = cluster.local.states()[0].model_id
    load(cluster.folder("model-owner"), model, without_headroom=True)
    assert cluster.local.states()[0].model_id != before


def test_a_folder_of_another_topology_is_one_clear_line(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(cluster.folder("data-owner"), folder)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("fraction_bits: 18", "fraction_bits: 16"))
    with pytest.raises(UserError, match="rendered from different topologies"):
        infer(folder, SENTENCES)


def test_status_exits_with_1_until_a_model_is_loaded(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    done = run_command("status", cluster.directory)
    assert done.returncode == 1
    assert "nothing listens there" in done.stdout


def test_a_port_in_use_is_named_with_its_party_and_nothing_is_started(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    party = cluster.topology.parties[1]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", party.grpc_port))
        taken.listen()
        done = run_command("up", "--local", cluster.directory)
    assert_one_line_error(done, "party 1", f"grpc_port {party.grpc_port}", "in use")
    assert cluster.local.strays() == []


def test_explain_names_a_host_that_does_not_resolve(cluster: Cluster) -> None:
    config = read_owner_config(cluster.folder("data-owner"))
    parties = (config.parties[0].model_copy(update={"host": "no-such-host.invalid"}), *config.parties[1:])
    wrong = config.model_copy(update={"parties": parties})

    async def ask() -> UserError:
        channel = open_channel(wrong, wrong.parties[0], read_identity(config))
        try:
            await rpc.StatusStub(channel).GetStatus(pb.StatusRequest(), timeout=20)
        except grpc.aio.AioRpcError as error:
            return await explain(error, wrong, 0)
        finally:
            await channel.close(None)
        raise AssertionError("nobody was reached")

    assert "'no-such-host.invalid' does not resolve" in str(asyncio.run(ask()))


@pytest.mark.parametrize("option", ["--output", "--report"])
def test_an_answer_that_would_have_no_place_is_not_asked_for(cluster: Cluster, tmp_path: Path, option: str) -> None:
    folder = tmp_path / "data-owner"  # whose parties would refuse it: they are not even asked
    shutil.copytree(cluster.folder("data-owner"), folder)
    (folder / "key.pem").unlink()
    for place, why in ((tmp_path / "gone" / "x", "there is no directory"), (Path("/dev/full"), "No space left")):
        done = run_command("infer", folder, "--text", SENTENCES[0], option, place)
        assert_one_line_error(done, f"{place}: cannot be written", why)


def test_answers_go_where_the_name_leads_and_are_private(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/answers.json")
    page = tmp_path / "page.html"
    page.write_text("earlier")
    ask = ("infer", cluster.directory, "--text", ":fire: [bold]and \x1b[31m" + SENTENCES[0])
    done = run_command(*ask, "-o", tmp_path / "link", "--report", page, "--with-sentences")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "link").read_text())["predictions"][0]["text"].startswith(":fire: [bold]")
    assert "What each layer cost" in done.stdout
    assert ":fire: [bold]" in page.read_text()
    for private in (tmp_path / "there" / "answers.json", page):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"there", "link", "page.html"}

    done = run_command(*ask, "-o", os.devnull)
    assert done.returncode == 0, done.stderr
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    assert ":fire: [bold]and \\x1b[31m" in run_command(*ask).stdout


def test_a_long_sentence_is_cut_where_that_is_asked_for(cluster: Cluster) -> None:
    long = " ".join(["good"] * 40)
    assert_one_line_error(run_command("infer", cluster.directory, "--text", long), "--truncate")
    done = run_command("infer", cluster.directory, "--text", long, "--truncate")
    assert done.returncode == 0, done.stderr
