"""What changes under a running deployment: its model, its certificates, and whom it answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from freediv.cluster.configuration import read_owner_config
from freediv.cluster.identity import server_name
from freediv.deploy.render import render
from freediv.errors import UserError
from freediv.model import read_model
from freediv.owners.data_owner import connected, infer
from freediv.owners.model_owner import load
from tiny import SENTENCES, make_tiny_model, plain_logits
from tokenizers import Tokenizer

from .conftest import Cluster, MakeCluster, assert_one_line_error, run_command, wait_for

OWNERS = ("alice", "bob", "carol")


@pytest.fixture(scope="module")
def second_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("second"), embedding="public", seed=8)


@pytest.fixture(scope="module")
def expected_of_second(second_model: Path) -> np.ndarray:
    model, tokenizer = read_model(second_model), Tokenizer.from_file(str(second_model / "tokenizer.json"))
    return np.stack([plain_logits(model, tokenizer, sentence) for sentence in SENTENCES])


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    cluster = make_cluster(output="logits", data_owners=OWNERS)
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    return cluster


@dataclass
class Asking:
    """What owners who never stop asking were answered: sentence, embedding of the model, logits."""

    answers: list[tuple[int, str, np.ndarray]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    async def ask(self, folder: Path) -> None:
        async with connected(read_owner_config(folder)) as owner:
            while not self.over.is_set():
                for row, sentence in enumerate(SENTENCES):
                    found = await owner.classify([sentence])
                    logits = np.array(found.predictions[0].logits)
                    self.answers.append((row, found.architecture.embedding, logits))


@contextmanager
def owners_who_never_stop_asking(cluster: Cluster) -> Iterator[Asking]:
    asking = Asking()
    with ThreadPoolExecutor(len(OWNERS)) as pool:
        folders = [cluster.folder(f"data-owner-{owner}") for owner in OWNERS]
        running = [pool.submit(asyncio.run, asking.ask(folder)) for folder in folders]
        try:
            wait_for(lambda: len(asking.answers) >= 6 or any(one.done() for one in running), "the first answers")
            yield asking
        finally:
            asking.over.set()
        for one in running:
            one.result(120)  # raises, if any request was lost


def test_a_model_is_replaced_and_gone_back_to_under_requests_without_a_lost_or_wrong_answer(
    cluster: Cluster, second_model: Path, expected: np.ndarray, expected_of_second: np.ndarray
) -> None:
    before = cluster.local.states()
    [first] = {state.model_id for state in before}
    with owners_who_never_stop_asking(cluster) as asking:
        second = load(cluster.folder("model-owner"), second_model).model_id
        seen = len(asking.answers)
        wait_for(lambda: len(asking.answers) >= seen + 6, "answers of the second model")
        done = run_command("rollback", cluster.directory)
        assert done.returncode == 0, done.stderr
        assert f"all parties serve model {first} again" in done.stdout
        seen = len(asking.answers)
        wait_for(lambda: len(asking.answers) >= seen + 6, "answers of the first model again")
    after = cluster.local.states()
    assert {state.model_id for state in after} == {first}
    assert [(s.epoch, s.worker_pid) for s in after] == [(s.epoch, s.worker_pid) for s in before]  # loaded beside
    of = {"secret": expected, "public": expected_of_second}
    assert max(np.abs(logits - of[embedding][row]).max() for row, embedding, logits in asking.answers) < 0.02
    order = [embedding for _, embedding, _ in asking.answers]
    assert (order[0], order[-1], "public" in order) == ("secret", "secret", True)
    listed = json.loads(run_command("models", cluster.directory, "--json").stdout)
    assert [(one["model_id"], one["use"], one["parties"]) for one in listed] == [
        (first, "in use", [0, 1, 2]),
        (second, "kept", [0, 1, 2]),
    ]


def served_certificate(cluster: Cluster, rank: int) -> bytes:
    """What a party shows to whoever connects now."""
    config = read_owner_config(cluster.folder("model-owner"))
    context = ssl.create_default_context(cafile=str(config.ca))
    context.load_cert_chain(str(config.certificate), str(config.key))
    context.set_alpn_protocols(["h2"])
    address = ("127.0.0.1", config.parties[rank].grpc_port)
    with (
        socket.create_connection(address) as plain,
        context.wrap_socket(plain, server_hostname=server_name(config.cluster, rank)) as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).encode()


def test_certificates_are_renewed_while_requests_run_and_the_old_ones_can_be_revoked(
    cluster: Cluster, tmp_path: Path
) -> None:
    folders = sorted(path.parent for path in cluster.directory.glob("*/certificate.pem"))
    old = tmp_path / "old"
    shutil.copytree(cluster.folder("data-owner-alice"), old)
    before = cluster.local.states()
    with owners_who_never_stop_asking(cluster) as asking:
        for folder in folders:
            (folder / "certificate.pem").rename(tmp_path / f"{folder.name}.pem")
        render(cluster.topology, cluster.directory)  # makes those that are missing, for the same keys
        for rank in range(3):
            shown = served_certificate(cluster, rank).split()
            assert shown == (cluster.folder(f"party-{rank}") / "certificate.pem").read_bytes().split()
            assert shown != (tmp_path / f"party-{rank}.pem").read_bytes().split()
        seen = len(asking.answers)
        wait_for(lambda: len(asking.answers) >= seen + 6, "answers on the connections from before")
    # Nobody's old certificate opens anything now: not an owner's, nor a party's to its peers.
    for folder in folders:
        done = run_command("revoke", cluster.directory, tmp_path / f"{folder.name}.pem")
        assert "answered no more by party-0, party-1, party-2" in done.stdout, done.stderr
    assert len(infer(cluster.folder("data-owner-alice"), SENTENCES).predictions) == len(SENTENCES)
    with pytest.raises(UserError, match="certificate of data-owner/alice has been revoked"):
        infer(old, SENTENCES[:1])
    after = cluster.local.states()
    assert [(s.epoch, s.worker_pid) for s in after] == [(s.epoch, s.worker_pid) for s in before]  # nothing restarted


def test_a_revoked_owner_is_refused_on_its_next_call_and_nobody_else(cluster: Cluster) -> None:
    async def ask_before_and_after() -> None:
        async with connected(read_owner_config(cluster.folder("data-owner-bob"))) as bob:
            await bob.classify(SENTENCES[:1])
            revoked = await asyncio.to_thread(run_command, "revoke", cluster.directory, "data-owner/bob")
            assert "data-owner/bob is answered no more" in revoked.stdout
            with pytest.raises(UserError, match="the certificate of data-owner/bob has been revoked"):
                await bob.classify(SENTENCES[:1])  # on the connections that are open
            restored = await asyncio.to_thread(run_command, "revoke", "--undo", cluster.directory, "data-owner/bob")
            assert "answered again" in restored.stdout
            await bob.classify(SENTENCES[:1])

    asyncio.run(ask_before_and_after())
    run_command("revoke", cluster.folder("party-1"), "data-owner/bob")  # one party's operator is enough
    with pytest.raises(UserError, match=r"party 1 .*has been revoked"):
        infer(cluster.folder("data-owner-bob"), SENTENCES[:1])
    assert len(infer(cluster.folder("data-owner-carol"), SENTENCES[:1]).predictions) == 1
    listed = run_command("revoke", cluster.directory).stdout.splitlines()
    assert ["data-owner/bob" in line for line in listed] == [False, True, False]


def test_revoking_somebody_who_is_not_there_is_one_clear_line(cluster: Cluster) -> None:
    assert_one_line_error(run_command("revoke", cluster.directory, "data-owner/alcie"), "no such role", "alice")
    assert_one_line_error(run_command("revoke", cluster.directory, "alice"), "no role (such as data-owner/alice)")


def test_no_more_models_are_kept_than_configured(cluster: Cluster, tiny_model: Path, second_model: Path) -> None:
    before = [one.model_id for one in cluster.local.states()[0].stored]
    assert len(before) == 2
    newest = load(cluster.folder("model-owner"), second_model).model_id
    for party in cluster.local.parties:
        kept = {path.name for path in (party.folder / "store").iterdir() if len(path.name) == 32}
        assert kept == {newest, before[0]}


def test_going_back_to_what_is_not_there_is_one_clear_line(cluster: Cluster) -> None:
    done = run_command("rollback", cluster.directory, "--to", "0123")
    assert_one_line_error(done, "no model 0123...", "they keep")
    before = cluster.local.states()
    share = sorted((cluster.folder("party-2") / "store" / before[2].stored[1].model_id).glob("*.share"))[-1]
    whole = share.read_bytes()
    share.write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    assert_one_line_error(run_command("rollback", cluster.directory), "nothing was switched", "damaged")
    assert len(infer(cluster.folder("data-owner-carol"), SENTENCES[:1]).predictions) == 1
    assert [state.worker_pid for state in cluster.local.states()] == [state.worker_pid for state in before]
    share.write_bytes(whole)
    stored = cluster.folder("party-1") / "store" / cluster.local.states()[1].stored[1].model_id
    stored.rename(stored.with_suffix(".gone"))
    assert_one_line_error(run_command("rollback", cluster.directory), "party 1 has no shares of this model")
    assert all(state.ready for state in cluster.local.states())
