"""Several hosts: this one, and a second Docker engine in a network namespace of its own.

Party 0 and the owners are on one, parties 1 and 2 on the other; between them only what is published.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import yaml

from .conftest import SENTENCES, freediv, leftovers, wait_for

# The first of these tests builds the images.
pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

HERE, THERE = "10.77.0.1", "10.77.0.2"
LATE_S = 60


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def other_engine(engine: docker.DockerClient, images: dict[str, str], tmp_path_factory) -> Iterator[str]:
    """Address of a second engine, with the images, that is reached at `THERE`."""
    programs = ("dockerd", "ip", "nsenter")
    if os.geteuid() != 0 or any(shutil.which(name) is None for name in programs):
        pytest.skip(f"needs root and {', '.join(programs)}, to start a second Docker engine")
    directory, name = tmp_path_factory.mktemp("engine"), f"fd{os.getpid()}"
    address = f"unix://{directory}/docker.sock"
    with ExitStack() as stack:
        for undo, command in (
            (f"ip netns delete {name}", f"ip netns add {name}"),
            (f"ip link delete {name}b", f"ip link add {name}b type bridge"),
            ("", f"ip addr add {HERE}/24 dev {name}b"),
            ("", f"ip link set {name}b up"),
            ("", f"ip link add {name}v type veth peer name eth0 netns {name}"),
            ("", f"ip link set {name}v master {name}b up"),
            ("", f"ip -n {name} addr add {THERE}/24 dev eth0"),
            ("", f"ip -n {name} link set eth0 up"),
            ("", f"ip -n {name} link set lo up"),
            ("", f"ip -n {name} route add default via {HERE}"),
            ("", f"ip netns exec {name} sysctl -w net.ipv4.ip_forward=1"),
        ):
            try:
                run(*command.split())
            except subprocess.CalledProcessError as error:
                pytest.skip(f"a network namespace cannot be made here: {error.stderr.decode().strip()}")
            if undo:
                stack.callback(subprocess.run, undo.split(), check=False, capture_output=True)
        (directory / "daemon.json").write_text("{}")
        options = {
            "--config-file": f"{directory}/daemon.json",
            "--storage-driver": engine.info()["Driver"],
            "--data-root": f"{directory}/data",
            "--exec-root": f"{directory}/exec",
            "--pidfile": f"{directory}/pid",
            "--host": address,
            "--bridge": "none",
        }
        log = stack.enter_context((directory / "log").open("w"))
        stack.callback(shutil.rmtree, directory / "data", ignore_errors=True)
        arguments = [word for option in options.items() for word in option]
        process = subprocess.Popen(
            ["nsenter", f"--net=/var/run/netns/{name}", "dockerd", *arguments], stdout=log, stderr=log
        )
        stack.callback(process.wait, 60)
        stack.callback(process.terminate)
        wait_for(lambda: (directory / "docker.sock").exists() or process.poll() is not None, 60, "the second engine")
        if process.poll() is not None:
            pytest.skip(f"a second Docker engine does not start here: {(directory / 'log').read_text()[-200:]}")
        with subprocess.Popen(["docker", "save", *images_of(images)], stdout=subprocess.PIPE) as saved:
            subprocess.run(["docker", "--host", address, "load"], stdin=saved.stdout, check=True, capture_output=True)
        yield address


def images_of(images: dict[str, str]) -> list[str]:
    return [name for name in images if name.startswith("freediv")]


@dataclass
class Lab:
    directory: Path
    compose: tuple[str, ...]
    engines: dict[str, str]

    def folder(self, folder: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the operator of one folder does in it."""
        environment = os.environ | {"DOCKER_HOST": self.engines[folder], "FREEDIV_MODEL": "/deployment/model"}
        environment |= {"COMPOSE_PROFILES": "file"}  # the data owner's file, beside its door
        return subprocess.run(
            [*self.compose, *arguments],
            cwd=self.directory / folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, folder: str) -> None:
        done = self.folder(folder, "up", "--detach")
        assert done.returncode == 0, done.stderr


def render_lab(directory: Path, here: str, there: str, **changes: object) -> Path:
    party = {"grpc_port": 7100, "link_port": 7110, "metrics_port": 7120}
    other = {"grpc_port": 7200, "link_port": 7210, "metrics_port": 7220}
    topology = {
        "cluster": "hosted",
        "hosts": [
            {"name": "here", "address": HERE, "engine": here},
            {"name": "there", "address": THERE, "engine": there},
        ],
        "parties": [
            {"rank": 0, "host": "here", **party},
            {"rank": 1, "host": "there", **party},
            {"rank": 2, "host": "there", **other},
        ],
        "model_owner": {"host": "here", "with_party": True},
        "data_owners": [{"host": "here", "with_party": True}],
        "limits": {"connect_s": 20},
    } | changes
    (directory / "lab.yaml").write_text(yaml.safe_dump(topology))
    done = freediv("render", directory / "lab.yaml", "-o", directory / "rendered")
    assert done.returncode == 0, done.stderr
    return directory / "rendered"


@pytest.fixture(scope="module")
def lab(
    other_engine: str, engine: docker.DockerClient, any_compose: tuple[str, ...], tiny_model: Path, tmp_path_factory
) -> Iterator[Lab]:
    here = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    directory = render_lab(tmp_path_factory.mktemp("lab"), here, other_engine)
    engines = dict.fromkeys(("party-0", "model-owner", "data-owner"), here)
    engines |= dict.fromkeys(("party-1", "party-2"), other_engine)
    shutil.copytree(tiny_model, directory / "model-owner" / "model")
    (directory / "data-owner" / "sentences.txt").write_text("\n".join(SENTENCES) + "\n")
    run("chown", "--recursive", "10001:10001", str(directory / "model-owner"), str(directory / "data-owner"))
    # The test's own directories, through which the containers' user has to come.
    for path in (directory, directory.parent, directory.parent.parent, directory.parent.parent.parent):
        path.chmod(path.stat().st_mode | 0o755)
    yield Lab(directory, any_compose, engines)
    assert leftovers(engine, "freediv-hosted") == []
    assert leftovers(docker.DockerClient(base_url=other_engine), "freediv-hosted") == []


def test_folders_started_one_by_one_find_each_other_however_late(lab: Lab) -> None:
    """The owners first, which need the rest, then party 2, 0, and 60 s later party 1."""
    order = ["data-owner", "model-owner", "party-2", "party-0"]
    try:
        for folder in order:
            lab.start(folder)
        time.sleep(LATE_S)
        assert not (lab.directory / "data-owner" / "predictions.json").exists()
        lab.start("party-1")
        predictions = lab.directory / "data-owner" / "predictions.json"
        wait_for(predictions.exists, 240, "predictions")
        time.sleep(1)
        found = [one["text"] for one in json.loads(predictions.read_text())["predictions"]]
        assert found == list(SENTENCES)
        waited = lab.folder("data-owner", "logs").stdout
        assert f"waiting: party 0 at {HERE}:7100 cannot be reached" in waited
    finally:
        for folder in (*order, "party-1"):
            lab.folder(folder, "down", "--volumes")


def test_one_operator_starts_and_stops_all_through_the_engines(lab: Lab, tiny_model: Path) -> None:
    started = freediv("up", lab.directory, "--timeout", "240")
    try:
        assert started.returncode == 0, started.stderr
        assert "3 parties are connected" in started.stdout
        assert freediv("load", lab.directory, tiny_model).returncode == 0
        assert freediv("status", lab.directory).returncode == 0
        by_compose = json.loads((lab.directory / "data-owner" / "predictions.json").read_text())["predictions"]
        asked = freediv("infer", lab.directory, *(f"--text={text}" for text in SENTENCES), "--json")
        assert json.loads(asked.stdout)["predictions"] == by_compose
        logged = freediv("logs", lab.directory, "--party", "1").stdout
        assert "party-1 party |" in logged
        assert "is loaded" in logged
    finally:
        stopped = freediv("down", lab.directory, "--volumes")
    assert stopped.stdout == "6 containers removed\n", stopped.stderr


def test_a_wrong_host_name_is_a_clear_error(lab: Lab, tmp_path: Path, other_engine: str) -> None:
    hosts = [
        {"name": "here", "address": HERE, "engine": lab.engines["party-0"]},
        {"name": "there", "address": "no-such-host.invalid", "engine": other_engine},
    ]
    directory = render_lab(tmp_path, "", "", hosts=hosts, cluster="hosted-elsewhere")
    for path in (directory, directory.parent):
        path.chmod(0o755)
    wrong = Lab(directory, lab.compose, lab.engines)
    wrong.start("party-0")
    try:
        said = "the name 'no-such-host.invalid' does not resolve"
        wait_for(lambda: said in wrong.folder("party-0", "logs").stdout, 60, "the party says what is wrong")
    finally:
        wrong.folder("party-0", "down", "--volumes")


def test_an_engine_that_does_not_answer_is_named(lab: Lab, tmp_path: Path) -> None:
    directory = render_lab(tmp_path, lab.engines["party-0"], f"unix://{tmp_path}/nobody.sock")
    done = freediv("up", directory)
    assert done.returncode == 2
    assert f"the Docker engine at unix://{tmp_path}/nobody.sock does not answer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
