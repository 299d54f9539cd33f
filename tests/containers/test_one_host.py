"""Everything on one host with one command: compose/one-host.yaml, by both Composes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx2
import pytest
from freediv.cluster.ports import free_ports

from .conftest import REPOSITORY, SENTENCES, Gated, leftovers, wait_for

# The first of these tests builds the images.
pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

PROBE = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def connects(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True

with ThreadPoolExecutor(16) as pool:
    print(*(address for address, open in zip(sys.argv[1:], pool.map(connects, sys.argv[1:])) if open))
"""


@dataclass
class Deployment:
    """What `up` left running."""

    command: list[str]
    project: str
    environment: dict[str, str]
    engine: docker.DockerClient

    def run(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=REPOSITORY,
        )

    def container(self, service: str) -> docker.models.containers.Container:
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        (found,) = self.engine.containers.list(all=True, filters={"label": labels})
        return found

    def reachable(self, network: str, addresses: list[str]) -> list[str]:
        """Which of these a stranger on that network can connect to."""
        command = ["-c", PROBE, *addresses]
        name = f"{self.project}_{network}"
        output = self.engine.containers.run("freediv", command, entrypoint="python3", network=name, remove=True)
        return output.decode().split()


@pytest.fixture(scope="module")
def deployment(
    compose: tuple[str, ...],
    engine: docker.DockerClient,
    images: dict[str, str],
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("one-host")
    sentences = directory / "sentences.txt"
    sentences.write_text("\n".join(SENTENCES) + "\n")
    # The containers' user, who is none of this host's, has to be able to read what is mounted.
    for path in (directory, *directory.parents[:2], tiny_model.parent, tiny_model, *tiny_model.iterdir(), sentences):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    project = f"freediv-test-{os.getpid()}"
    settings = {
        "FREEDIV_SENTENCES": str(sentences),
        "FREEDIV_MODELS": str(tiny_model.parent),
        "FREEDIV_MODEL": "/models/tiny",
        "FREEDIV_DOOR_PORT": str(free_ports(1)[0]),
        "COMPOSE_PROFILES": "file",
    }
    command = [*compose, "--project-name", project, "--file", "compose/one-host.yaml"]
    found = Deployment(command, project, os.environ | settings, engine)
    try:
        started = found.run("up", "--detach")
        assert started.returncode == 0, started.stdout + started.stderr + found.run("logs").stdout
        assert found.container("data-owner-file").wait(timeout=400)["StatusCode"] == 0, found.run("logs").stdout
        yield found
    finally:
        stopped = found.run("down", "--volumes")
    assert stopped.returncode == 0, stopped.stderr
    assert leftovers(engine, project) == []


def test_predictions_are_those_of_the_local_runtime(deployment: Deployment, gated: Gated) -> None:
    content, _ = deployment.container("data-owner-file").get_archive("/deployment/predictions/predictions.json")
    text = b"".join(content)
    predictions = json.JSONDecoder().raw_decode(text[text.index(b"{") :].decode(errors="replace"))[0]["predictions"]
    assert predictions == gated.infer()["predictions"]
    assert {one["label"] for one in predictions} == {"negative", "positive"}


def test_parties_are_healthy_and_loaders_ended_well(deployment: Deployment) -> None:
    for rank in range(3):
        for service in (f"party-{rank}", f"gateway-{rank}"):
            assert deployment.container(service).attrs["State"]["Health"]["Status"] == "healthy"
    for service in ("render", "model-owner", "data-owner-file"):
        state = deployment.container(service).attrs["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def test_the_door_answers_on_this_hosts_loopback(deployment: Deployment, gated: Gated) -> None:
    address = f"http://127.0.0.1:{deployment.environment['FREEDIV_DOOR_PORT']}"
    wait_for(lambda: health(deployment.container("data-owner")) == "healthy", 200, "the door is healthy")
    expected = [one["label"] for one in gated.infer()["predictions"]]
    found = httpx2.post(f"{address}/predict", json={"inputs": [[text] for text in SENTENCES]}, timeout=100)
    assert [one["label"] for [one] in found.json()] == expected
    assert httpx2.get(f"{address}/info", headers={"host": "rebound.example.org"}).status_code == 403


def health(container: Any) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


DATA_OWNER = ["data-owner", "data-owner-file"]
PARTIES = [f"{kind}-{rank}" for kind in ("party", "gateway") for rank in range(3)]


@pytest.mark.parametrize("service", ["render", *PARTIES, "model-owner", *DATA_OWNER])
def test_containers_may_do_no_more_than_they_need(deployment: Deployment, service: str) -> None:
    attributes = deployment.container(service).attrs
    allowed = attributes["HostConfig"]
    assert attributes["Config"]["User"] == "10001:10001"
    assert allowed["ReadonlyRootfs"]
    assert allowed["CapDrop"] == ["ALL"]
    assert not allowed["CapAdd"]
    assert "no-new-privileges:true" in allowed["SecurityOpt"]
    assert allowed["Memory"] > 0
    assert allowed["PidsLimit"] == 512
    if service == "data-owner":  # the door, on the host's loopback alone
        [[published]] = allowed["PortBindings"].values()
        assert published == {"HostIp": "127.0.0.1", "HostPort": deployment.environment["FREEDIV_DOOR_PORT"]}
    else:
        assert not allowed["PortBindings"]


def test_a_role_sees_its_own_key_only(deployment: Deployment) -> None:
    found = set()
    for rank in range(3):
        listing = deployment.container(f"party-{rank}").exec_run("find /deployment -name *key.pem")
        assert listing.output.decode().split() == [f"/deployment/party-{rank}/key.pem"]
        key = deployment.container(f"party-{rank}").exec_run(f"cat /deployment/party-{rank}/key.pem")
        found.add(key.output)
    assert len(found) == 3
    for owner in ("model-owner", *DATA_OWNER):
        targets = {mount["Destination"] for mount in deployment.container(owner).attrs["Mounts"]}
        assert {path for path in targets if path.startswith("/deployment/")} - {"/deployment/predictions"} == {
            f"/deployment/{owner.removesuffix('-file')}"
        }


@pytest.mark.parametrize(
    ("network", "ports"), [("owners", {7100}), ("mesh", {7111, 7112}), ("monitoring", {7116, 7120})]
)
def test_each_network_leads_to_its_own_ports_of_a_party(deployment: Deployment, network: str, ports: set[int]) -> None:
    """Whatever listens beside a party, tried on all its addresses: doors on the mesh, and SPU and exits nowhere."""
    attached = deployment.container("gateway-0").attrs["NetworkSettings"]["Networks"]
    by_network = {name.removeprefix(f"{deployment.project}_"): one["IPAddress"] for name, one in attached.items()}
    assert set(by_network) == {"owners", "mesh", "monitoring"}
    tried = [f"{address}:{number}" for address in by_network.values() for number in (7100, *range(7110, 7121))]
    assert set(deployment.reachable(network, tried)) == {f"{by_network[network]}:{port}" for port in ports}


def test_owners_are_not_on_the_mesh(deployment: Deployment) -> None:
    for owner in ("model-owner", *DATA_OWNER):
        networks = deployment.container(owner).attrs["NetworkSettings"]["Networks"]
        own = {f"{deployment.project}_door"} if owner == "data-owner" else set()
        assert set(networks) == {f"{deployment.project}_owners"} | own


def test_no_sentence_and_no_label_is_in_a_log(deployment: Deployment) -> None:
    for service in ("render", *PARTIES, "model-owner", *DATA_OWNER):
        log = deployment.container(service).logs().decode()
        assert not any(sentence in log for sentence in SENTENCES)
        assert "positive" not in log


def test_the_images_hold_only_what_runs(images: dict[str, str], engine: docker.DockerClient) -> None:
    listed = {name: float(line.split()[1]) for name, line in images.items() if name.startswith("freediv")}
    assert listed["freediv"] < 1500  # MB; SPU and jaxlib are 740 of them
    assert listed["freediv-gateway"] < 150
    for image in ("freediv", "freediv-gateway"):
        assert engine.images.get(image).attrs["Config"]["User"] == "10001:10001"
        command = ["-c", "ls -d /wheels /source 2>/dev/null; command -v pip gcc git; true"]
        assert engine.containers.run(image, command, entrypoint="sh", remove=True) == b""
