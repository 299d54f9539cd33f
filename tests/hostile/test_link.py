"""What somebody who is no party cannot do to the link between the parties."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from deployment.conftest import Cluster
from freediv.chaos import Scene
from freediv.mpc.link.failures import WorkerFailed
from freediv.mpc.link.transport import ON_THIS_MACHINE
from freediv.owners.data_owner import infer
from freediv.process import memory_bytes
from mpc.parties import Parties, architecture, random_parameters, sentences
from tiny import SENTENCES

FLOOD_MB = 5 * 40


def worker_sockets(worker: psutil.Process) -> list[Path]:
    """Where a worker's link can be reached."""
    bound = [str(one.laddr) for one in worker.net_connections("unix")]
    found = sorted({Path(path) for path in bound if path.startswith("/")})
    assert found, "a worker on this machine listens at a socket"
    return found


class Connection(http.client.HTTPConnection):
    """HTTP to a Unix socket: SPU's server takes its messages that way, too."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def push(self, sender: int, key: str, value: bytes) -> int:
        """Hand a message over in a party's name; the status of the answer."""
        message = {"sender_rank": sender, "key": key, "value": base64.b64encode(value).decode(), "trans_type": "MONO"}
        self.request("POST", "/ReceiverService/Push", json.dumps(message), {"Content-Type": "application/json"})
        answer = self.getresponse()
        answer.read()
        return answer.status


def forge(socket_of: Path, sender: int, receiver: int, names: Iterable[str], values: Iterable[bytes]) -> None:
    """Push values for every next message of one party to another, in each context of the links so named."""
    connection = Connection(socket_of)
    for number, value in enumerate(values, 1):
        for name in names:
            for context in (name, f"{name}-0"):  # the agreement's and SPU's own, and the products'
                assert connection.push(sender, f"{context}:P2P-{number}:{sender}->{receiver}", value) == 200
    connection.close()


def labels(cluster: Cluster) -> list[str]:
    return [one.name for one in infer(cluster.folder("data-owner-alice"), SENTENCES).predictions]


def test_messages_under_guessed_names_change_no_answer(cluster: Cluster, expected_labels: list[str]) -> None:
    """Messages under keys made of the public epoch, pushed into a worker: a link's name has 128 secret bits."""
    states = cluster.local.states()
    names = [f"freediv-{states[0].epoch}", f"freediv-{states[0].epoch}-{'0' * 32}"]
    [path] = worker_sockets(Scene(cluster.directory).worker(1))
    forge(path, 0, 1, names, (b"four" for _ in range(1500)))
    assert labels(cluster) == expected_labels
    after = cluster.local.states()
    assert [(s.epoch, s.worker_pid, s.link_up) for s in after] == [(s.epoch, s.worker_pid, True) for s in states]


STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
refused = 0
for path in sys.argv[1:]:
    for size in [4] * 1000 + [5_000_000] * 40:
        message = b"POST /ReceiverService/Push HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % size
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(path)
                one.sendall(message + bytes(size))
            except PermissionError:
                refused += 1
print(refused)
"""


def test_another_user_of_the_machine_does_not_reach_the_link(cluster: Cluster, expected_labels: list[str]) -> None:
    """1,000 small and 40 large pushes to each worker by another local user: its sockets' directory is for one user."""
    scene = Scene(cluster.directory)
    workers = [scene.worker(rank) for rank in range(3)]
    for worker in workers:
        assert not [one for one in worker.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    paths = [path for worker in workers for path in worker_sockets(worker)]
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in paths} == {0o700}
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    before = [memory_bytes(worker.pid) for worker in workers]
    command = [sys.executable, "-c", STRANGER, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) == 1040 * 3
    grown = [memory_bytes(worker.pid) - then for worker, then in zip(workers, before, strict=True)]
    assert max(grown) < FLOOD_MB * 1e6 / 10
    assert labels(cluster) == expected_labels


@pytest.fixture
def on_this_machine(tmp_path: Path) -> Iterator[tuple[Parties, list[dict[str, Any]]]]:
    """Workers that serve a small model, and inputs of a request."""
    model = architecture(layers=1)
    with Parties([ON_THIS_MACHINE] * 3, products="shares", recv_timeout_s=5) as parties:
        parties.join()
        parties.load(tmp_path, model, random_parameters(model))
        yield parties, parties.inputs(*sentences(model.vocabulary))


def test_who_has_read_a_links_name_can_end_it_and_no_more(on_this_machine: tuple[Parties, list[Any]]) -> None:
    """Digests and verdicts under the link's true name, pushed ahead of the parties': their codes cannot be forged."""
    parties, inputs = on_this_machine
    size = sentences(40)[0].shape
    assert all(one.sound == (True,) for one in parties.run(inputs, *size))
    config = parties.workers[1]._config.link
    assert config.directory is not None
    verdict = b"\1" + bytes(32)
    forge(config.directory / "1", 0, 1, [config.name], [verdict] * 400)
    outcomes = parties.outcomes(lambda rank, worker: worker.run("again", *size, inputs[rank]))
    assert all(isinstance(outcome, WorkerFailed) for outcome in outcomes), outcomes
    assert "party-0's terms is not from that party: somebody else writes into the link" in str(outcomes[1])
    assert config.name not in "".join(map(str, outcomes))


def test_nothing_is_left_of_a_links_directory(on_this_machine: tuple[Parties, list[Any]]) -> None:
    """A worker killed with its link: the directory of sockets goes with the first of its parties."""
    parties, _ = on_this_machine
    directory = parties.workers[0]._config.link.directory
    assert directory is not None
    assert {path.name for path in directory.iterdir()} == {"0", "1", "2"}
    parties.workers[2].kill()
    assert not directory.exists()
