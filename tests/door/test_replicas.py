"""Several deployments behind one door: replicas of a model, and models by name."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from deployment.conftest import Cluster, MakeCluster, wait_for
from freediv.owners.model_owner import load
from tiny import SENTENCES, make_tiny_model

from .conftest import DoorProcess, door_before, shown


@pytest.fixture(scope="module")
def second(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    """Another deployment of the same model, for this module to break."""
    made = make_cluster(cluster="second")
    made.up()
    load(made.folder("model-owner"), tiny_model)
    return made


@pytest.fixture
def both(cluster: Cluster, second: Cluster) -> Iterator[DoorProcess]:
    """One door before both; each folder's name is good for it."""
    with door_before(cluster.folder("data-owner-alice"), second.folder("data-owner")) as door:
        wait_for(lambda: replicas_up(door) == {"test": 2}, f"both are replicas of one model: {door.log}")
        yield door


def replicas_up(door: DoorProcess) -> dict[str, int]:
    found = re.findall(r'^freediv_door_replicas_up{model="(\S+)"} (\d+)', door.get("/metrics").text, re.MULTILINE)
    return {name: int(count) for name, count in found}


def answered(cluster: Cluster) -> int:
    """Requests that party 0 of a deployment has answered."""
    port = cluster.local.parties[0].config.metrics_port
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    found = re.search(r'^freediv_requests_total{outcome="answered"} (\S+)', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def test_a_replica_that_dies_loses_no_request_and_comes_back(
    both: DoorProcess, cluster: Cluster, second: Cluster, expected_labels: list[str]
) -> None:
    assert both.get("/models/second/info").json()["model_id"] == "test"
    before = answered(cluster), answered(second)
    numbers, lock = itertools.count(), threading.Lock()
    wrong: list[str] = []
    killed = threading.Event()

    def ask() -> None:
        while True:
            with lock:
                number = next(numbers)
            if number >= 60:
                return
            if number == 20:
                process = second.local.parties[1].process()
                assert process is not None
                process.kill()
                killed.set()
            row = number % len(SENTENCES)
            response = both.post("/predict", {"inputs": SENTENCES[row]})
            if response.status_code != 200 or response.json() != [{"score": None, "label": expected_labels[row]}]:
                wrong.append(shown(response))

    callers = [threading.Thread(target=ask) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(240)
    assert killed.is_set()
    assert not wrong
    assert all(now > was for now, was in zip((answered(cluster), answered(second)), before, strict=True))
    assert replicas_up(both) == {"test": 1}
    assert both.is_well()
    second.up(1)
    wait_for(lambda: replicas_up(both) == {"test": 2}, "it is asked again")


def test_a_replica_with_another_model_is_left_out_until_the_rest_has_it(
    both: DoorProcess, cluster: Cluster, second: Cluster, tmp_path: Path, tiny_model: Path, expected_labels: list[str]
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=5, label_names=("no", "yes"))
    load(second.folder("model-owner"), other)
    wait_for(lambda: replicas_up(both) == {"test": 1}, "it is left out")
    for row, label in enumerate(expected_labels):
        assert both.post("/predict", {"inputs": SENTENCES[row]}).json() == [{"score": None, "label": label}]
    folders = f"mood={cluster.folder('data-owner-alice')}", f"truth={second.folder('data-owner')}"
    with door_before(*folders, well=False) as named:
        wait_for(lambda: replicas_up(named) == {"mood": 1, "truth": 1}, "both are there by name")
        assert named.get("/info").json()["model_id"] == "mood"
        labels = {
            name: named.post(f"/models/{name}/predict", {"inputs": SENTENCES[0]}).json()[0]["label"]
            for name in ("mood", "truth")
        }
        assert labels["mood"] == expected_labels[0]
        assert labels["truth"] in ("no", "yes")
    load(second.folder("model-owner"), tiny_model)
    wait_for(lambda: replicas_up(both) == {"test": 2}, "it serves what the rest serves")


def test_a_door_without_a_deployment_says_so(second: Cluster) -> None:
    second.local.stop()
    with door_before(second.folder("data-owner"), well=False) as door:
        for response in (door.get("/health"), door.get("/info"), door.post("/predict", {"inputs": "a film"})):
            assert response.status_code == 503, shown(response)
            assert response.json()["error_type"] == "Unhealthy"
        wait_for(lambda: "nothing listens there" in door.get("/health").json()["error"], "the cause is named")
