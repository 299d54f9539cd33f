"""An audit of a model that parties serve: asked within the quota, and sent what is no text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from freediv.audit.whole import audit_model
from freediv.cluster.configuration import read_owner_config
from freediv.errors import UserError
from freediv.owners.model_owner import load
from tiny import make_tiny_model

from .conftest import Cluster, MakeCluster

BUDGET = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), embedding="public", layers=1)


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster, model: Path) -> Cluster:
    cluster = make_cluster(output="label", data_owners=({"name": "mallory", "quota": {"budget": BUDGET}},))
    cluster.up()
    load(cluster.folder("model-owner"), model)
    return cluster


def test_a_deployment_is_asked_within_its_quota_and_whether_it_takes_numbers_is_tried(
    cluster: Cluster, model: Path
) -> None:
    asked = {"sizes": (10, 1000), "longest": 16, "through": cluster.directory}
    extraction, continuous = (found.measured for found in audit_model(model, ["extraction", "continuous"], **asked))
    tried: Any = continuous["deployment"]
    # Where word pieces travel as keys, nothing but word pieces is computed with.
    checked = getattr(read_owner_config(cluster.directory / "data-owner-mallory"), "lookup", "rows") == "points"
    assert tried["answered"] == (not checked)
    left = BUDGET - tried["answered"]
    assert extraction["limit"] == left
    learned: Any = extraction["learned"]
    assert [one["queries"] for one in learned] == [10, left]
    with pytest.raises(UserError, match="is spent"):
        audit_model(model, ["extraction"], **asked)
