"""A reranker, end to end: a query and twenty passages, in the order that plaintext gives them."""

from __future__ import annotations

import json
from pathlib import Path

import freediv
import numpy as np
import pytest
from door.conftest import door_before, shown
from freediv.conversion.measures.predicting import predict
from freediv.errors import UserError
from freediv.model import read_model
from freediv.owners.data_owner import infer
from tiny import WORDS, make_tiny_model

from .conftest import Cluster, MakeCluster, assert_one_line_error, load, run_command

QUERY = "is the film good"
_RANDOM = np.random.default_rng(4)
PASSAGES = [" ".join(_RANDOM.choice(WORDS, size=_RANDOM.integers(2, 24))) for _ in range(20)]
PAIRS = [(QUERY, passage) for passage in PASSAGES]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("reranker") / "model"
    return make_tiny_model(directory, answer="score", label_names=("relevance",), separator_token=3)


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster, reranker: Path) -> Cluster:
    """Requests may share runs, and be computed in two lanes, but not where texts are compared."""
    made = make_cluster(output="order", max_batch=20, batching={"size": 8, "lanes": 2})
    made.up()
    load(made.folder("model-owner"), reranker)
    return made


def order_of_plaintext(reranker: Path) -> list[int]:
    """Places of passages, the best first."""
    scores = np.array([one.outputs[0] for one in predict(read_model(reranker), PAIRS)])
    assert np.diff(np.sort(scores)).min() > 5e-3  # no two are a close call
    return list(np.argsort(-scores))


def test_twenty_passages_come_in_the_order_of_plaintext(cluster: Cluster, reranker: Path) -> None:
    found = infer(cluster.folder("data-owner"), PAIRS)
    assert [(request.batch, request.length) for request in found.requests] == [(20, 32)]
    assert list(np.argsort([one.value for one in found.predictions])) == order_of_plaintext(reranker)
    assert all(one.logits is None for one in found.predictions)


def test_a_program_reads_ranks_from_1(cluster: Cluster, reranker: Path, tmp_path: Path) -> None:
    file = tmp_path / "passages.jsonl"
    file.write_text("".join(json.dumps({"query": QUERY, "passage": one}) + "\n" for one in PASSAGES), encoding="utf-8")
    columns = ("--text-column", "query", "--text-column", "passage")
    done = run_command("infer", cluster.directory, "--file", file, *columns, "--json")
    found = json.loads(done.stdout)["predictions"]
    assert [found[place]["rank"] for place in order_of_plaintext(reranker)] == list(range(1, 21))
    assert all(one.keys() == {"text", "rank"} for one in found)


def test_an_order_is_of_one_request(cluster: Cluster) -> None:
    with pytest.raises(UserError, match="the parties tell the order of up to 20 texts, as the topology's max_batch"):
        infer(cluster.folder("data-owner"), [*PAIRS, PAIRS[0]])


def test_a_program_has_the_order_and_no_score(cluster: Cluster, reranker: Path) -> None:
    with freediv.connect(cluster.directory) as client:
        found = client.rerank(QUERY, PASSAGES)
        assert [one.index for one in found] == order_of_plaintext(reranker)
        assert [one.rank for one in found] == list(range(1, 21))
        assert all(one.score is None and one.probability is None for one in found)
        with pytest.raises(UserError, match="the order of up to 20 texts"):
            client.rerank(QUERY, [*PASSAGES, "a film"])


def test_the_door_tells_the_order_and_nothing_else(cluster: Cluster, reranker: Path) -> None:
    with door_before(cluster.folder("data-owner")) as door:
        ranks = door.post("/rerank", {"query": QUERY, "texts": PASSAGES})
        assert ranks.json() == [{"index": place, "score": None} for place in order_of_plaintext(reranker)], shown(ranks)
        refused = door.post("/predict", {"inputs": [QUERY, PASSAGES[0]]})
        assert (refused.status_code, refused.json()["error_type"]) == (424, "Backend")
        assert "ask for it at /rerank" in refused.json()["error"]


def test_a_model_without_scores_is_refused_where_an_order_is_revealed(cluster: Cluster, tmp_path: Path) -> None:
    classifier = make_tiny_model(tmp_path / "classifier")
    done = run_command("load", cluster.directory, classifier)
    assert_one_line_error(
        done, "the cluster's output is order", "one label out of several: set output: label or logits"
    )
