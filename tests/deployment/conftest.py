"""Real deployments for tests: three party processes on this machine, TLS between all."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from freediv.cluster.topology import Topology
from freediv.deploy.demonstration import free_topology
from freediv.deploy.local import LocalDeployment
from freediv.deploy.render import render
from freediv.model import read_model
from freediv.owners.model_owner import load
from tiny import SENTENCES, make_tiny_model, plain_logits
from tokenizers import Tokenizer


@dataclass
class Cluster:
    """A rendered directory and its parties."""

    directory: Path
    topology: Topology
    lifeline: int
    local: LocalDeployment = field(init=False)

    def __post_init__(self) -> None:
        self.local = LocalDeployment(self.directory)

    def start(self, *ranks: int) -> None:
        self.local.start(ranks or None, lifeline=self.lifeline)

    def up(self, *ranks: int) -> None:
        self.start(*ranks)
        self.local.wait_until_linked(180)

    def folder(self, role: str) -> Path:
        return self.directory / role


MakeCluster = Callable[..., Cluster]


@contextmanager
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    """Renders clusters with free ports; whatever they started is stopped in the end, also if this process is killed."""
    with ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, writing)
        stack.callback(os.close, reading)

        def make(**settings: object) -> Cluster:
            topology = Topology.model_validate(free_topology("test").model_dump() | settings)
            directory = tmp_path_factory.mktemp("cluster") / "rendered"
            render(topology, directory)
            cluster = Cluster(directory, topology, reading)
            stack.callback(cluster.local.stop)
            return cluster

        yield make


@pytest.fixture(scope="module")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    with clusters(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def expected(tiny_model: Path) -> np.ndarray:
    """Logits of the tiny model for its sentences, in the clear."""
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    model = read_model(tiny_model)
    return np.stack([plain_logits(model, tokenizer, sentence) for sentence in SENTENCES])


@pytest.fixture(scope="session")
def expected_labels(expected: np.ndarray) -> list[str]:
    return [("negative", "positive")[i] for i in expected.argmax(axis=1)]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)


def worker_pid(cluster: Cluster, rank: int) -> int:
    pid = cluster.local.states()[rank].worker_pid
    assert pid > 0, f"party {rank} has no worker"  # a signal to process 0 goes to whoever runs the tests
    return pid


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, as a user calls it."""
    return subprocess.run(
        [sys.executable, "-m", "freediv", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def assert_one_line_error(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit status 2 and exactly one line, with all these parts in it."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


__all__ = ["SENTENCES", "Cluster", "MakeCluster", "assert_one_line_error", "load", "run_command"]
