"""Where the parties tell of a score only whether it is above a threshold: what callers and programs are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import freediv
import pytest
from deployment.conftest import Cluster, MakeCluster
from freediv.conversion.measures.predicting import predict
from freediv.model import read_model
from freediv.owners.model_owner import load
from tiny import SENTENCES, make_tiny_model

from .conftest import DoorProcess, door_before, shown

QUERY = "is the film good"


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("threshold") / "model"
    return make_tiny_model(directory, answer="score", label_names=("relevant",), separator_token=3)


@pytest.fixture(scope="module")
def above(reranker: Path) -> list[bool]:
    """Of each sentence, whether plaintext has its score above 0."""
    scores = [one.outputs[0] for one in predict(read_model(reranker), [(QUERY, text) for text in SENTENCES])]
    found = [score > 0 for score in scores]
    assert min(map(abs, scores)) > 5e-3 and len(set(found)) == 2
    return found


@pytest.fixture(scope="module")
def own(make_cluster: MakeCluster, reranker: Path) -> Cluster:
    made = make_cluster(cluster="threshold", output="threshold")
    made.up()
    load(made.folder("model-owner"), reranker)
    return made


@pytest.fixture(scope="module")
def opened(own: Cluster) -> Iterator[DoorProcess]:
    with door_before(own.folder("data-owner")) as door:
        yield door


def test_the_label_is_of_what_is_above(opened: DoorProcess, above: list[bool]) -> None:
    response = opened.post("/predict", {"inputs": [[QUERY, text] for text in SENTENCES]})
    assert response.json() == [[{"score": None, "label": "relevant"}] if one else [] for one in above], shown(response)


def test_what_is_above_comes_first(opened: DoorProcess, above: list[bool]) -> None:
    response = opened.post("/rerank", {"query": QUERY, "texts": list(SENTENCES)})
    places = sorted(range(len(above)), key=lambda place: not above[place])
    assert response.json() == [{"index": place, "score": None} for place in places], shown(response)


def test_a_program_is_told_which_are_above(own: Cluster, above: list[bool]) -> None:
    with freediv.connect(own.directory) as client:
        found = client.score([(QUERY, text) for text in SENTENCES])
        assert [one.above for one in found] == above
        assert all(one.score is None and one.rank is None and one.answered for one in found)
        assert [one.above for one in client.rerank(QUERY, SENTENCES)] == sorted(above, reverse=True)
