"""What tests of containers ask for: engines, images, Compose, and a cluster with gateways without any container."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException
from freediv.cluster import ports
from freediv.cluster.topology import Topology
from freediv.deploy.containers.gateway import SCRIPT
from freediv.deploy.containers.services import FOLDER
from freediv.deploy.local import LocalDeployment
from freediv.deploy.render import render
from freediv.owners.model_owner import load
from tiny import SENTENCES, make_tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]


def freediv(*arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """The command, as a user calls it."""
    command = [sys.executable, "-m", "freediv", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=REPOSITORY)


def wait_for(found: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.3)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


# --- without containers ---


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name}, which is not installed; `make test-setup` as root installs it")
    return found


@dataclass
class Gateway:
    """HAProxy with the rendered configuration of a party, its directories replaced by ones of this machine."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, stack: ExitStack) -> None:
        memory = self.folder / "memory"
        memory.mkdir()
        pem = (self.folder / "certificate.pem").read_text() + (self.folder / "key.pem").read_text()
        (memory / "party.pem").write_text(pem)
        text = (self.folder / "gateway.cfg").read_text()
        script = REPOSITORY / "orchestrator" / "freediv" / "deploy" / "containers" / "gateway.lua"
        here = {SCRIPT: script, "/tmp": memory, FOLDER: self.folder}
        text = re.sub("|".join(here), lambda found: str(here[found[0]]), text)
        (memory / "gateway.cfg").write_text(text)
        with (memory / "log").open("w") as log:
            command = [program("haproxy"), "-db", "-f", str(memory / "gateway.cfg")]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | self.environment)
        stack.callback(process.wait, 10)
        stack.callback(process.terminate)


def free_block(count: int, start: int | None = None) -> int:
    """The first of `count` of this process's ports in a row that nobody uses, from where another run does not look."""
    own = ports._BELOW_EPHEMERAL
    for first in range(start or own[os.getpid() * 20 % (len(own) // 2)], own.stop - count, count):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("0.0.0.0", port))
            except OSError:
                continue
        return first
    raise AssertionError("no ports are free")


def gated_topology() -> Topology:
    parties, first = [], free_block(10)
    for rank in range(3):
        first = free_block(10, first)
        own = {"grpc_port": first, "metrics_port": first + 1, "link_port": first + 2}
        parties.append({"rank": rank, "host": "127.0.0.1", **own})
        first += 10
    return Topology.model_validate({"cluster": "gated", "gateway": True, "parties": parties})


@dataclass
class Gated:
    directory: Path
    topology: Topology

    def infer(self) -> dict:
        done = freediv("infer", self.directory, *(f"--text={text}" for text in SENTENCES), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="package")
def gated(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Gated]:
    """Three local parties that serve the tiny model over three gateways."""
    topology, directory = gated_topology(), tmp_path_factory.mktemp("gated") / "rendered"
    render(topology, directory)
    program("haproxy")
    with ExitStack() as stack:
        local = LocalDeployment(directory)
        lifeline, ours = os.pipe()  # where this process is killed, the parties end too
        stack.callback(os.close, ours)
        stack.callback(os.close, lifeline)
        stack.callback(local.stop)
        local.start(lifeline=lifeline)
        local.wait_until_linked(120)
        load(directory / "model-owner", str(tiny_model))
        yield Gated(directory, topology)


# --- with containers ---


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        pytest.skip(f"needs a Docker engine, and none answers ({str(error)[:100]})")
    return client


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> dict[str, str]:
    """Builds the images, as the README says; what that printed, by image."""
    done = freediv("images", "build", timeout=1100)
    if "no image registry can be reached" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return {line.split()[0]: line for line in done.stdout.splitlines()}


COMPOSES = {"v2": ("docker", "compose"), "v1.29": ("docker-compose",)}


@pytest.fixture(scope="session", params=COMPOSES)
def compose(request: pytest.FixtureRequest, engine: docker.DockerClient) -> tuple[str, ...]:
    command = COMPOSES[request.param]
    return usable(command) or pytest.skip(f"`{' '.join(command)}` is not installed")


@pytest.fixture(scope="session")
def any_compose(engine: docker.DockerClient) -> tuple[str, ...]:
    found = next(filter(None, map(usable, COMPOSES.values())), None)
    return found or pytest.skip("neither `docker compose` nor docker-compose is installed")


def usable(command: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        return (
            command if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0 else None
        )
    except FileNotFoundError:
        return None


def leftovers(engine: docker.DockerClient, word: str) -> list[str]:
    """Containers, networks and volumes whose name has a word in it."""
    names = [one.name for one in engine.containers.list(all=True)]
    names += [one.name for one in engine.networks.list()]
    names += [one.name for one in engine.volumes.list()]
    return [name for name in names if word in name]
