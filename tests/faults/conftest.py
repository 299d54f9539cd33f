"""One deployment for all faults: every test finds it in order, and leaves it so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment.conftest import Cluster, MakeCluster, clusters, expected, expected_labels, tiny_model, wait_for
from freediv.cluster.configuration import Limits
from freediv.owners.data_owner import infer
from freediv.owners.model_owner import load
from tiny import SENTENCES

__all__ = ["expected", "expected_labels", "tiny_model", "wait_for"]


@pytest.fixture(scope="package")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    with clusters(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="package")
def shared_cluster(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    limits = Limits(arrival_s=5, connect_s=30, receive_s=5)
    cluster = make_cluster(output="label", lookup="rows", data_owners=("alice", "bob"), limits=limits)
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    return cluster


@pytest.fixture
def cluster(shared_cluster: Cluster, tiny_model: Path) -> Cluster:
    """A cluster in order, whatever the test before left of it."""
    shared_cluster.up()
    for unfinished in shared_cluster.directory.glob("party-*/store/incoming-*"):
        shutil.rmtree(unfinished)
    for sharing in shared_cluster.directory.glob("model-owner/uploads/*"):
        sharing.unlink()
    if any(state.problem for state in shared_cluster.local.states()):
        load(shared_cluster.folder("model-owner"), tiny_model)
    return shared_cluster


def ask(cluster: Cluster, owner: str = "alice", sentences: tuple[str, ...] = SENTENCES) -> list[str]:
    return [one.name for one in infer(cluster.folder(f"data-owner-{owner}"), sentences).predictions]
