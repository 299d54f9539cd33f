"""The model that ships, on sentences that nobody here wrote: in plaintext, and through real parties."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.measures.predictions import evaluate
from freediv.conversion.texts.examples import Examples, read_examples
from freediv.deploy.private_evaluation import evaluate_privately
from freediv.model import read_model

from .conftest import MakeCluster, load


@pytest.fixture(scope="module")
def dev(shared: Path) -> Examples:
    return replace(read_examples(shared / "data/sst2/dev.tsv"), label_names=("negative", "positive"))


def test_the_shipped_model_is_as_accurate_as_its_card_says(dev: Examples) -> None:
    model = read_model("demo")
    assert model.certificate.headroom_bits is not None
    assert model.certificate.headroom_bits > 1
    found = evaluate(model, dev).overall
    assert found.value >= 0.87
    assert model.directory is not None
    assert f"({found.correct} / {found.count})" in (model.directory / "README.md").read_text()


def test_private_labels_agree_with_plaintext_ones(dev: Examples, make_cluster: MakeCluster) -> None:
    """A sample of a hundred of all lengths: at most one may differ."""
    cluster = make_cluster(output="logits")
    cluster.up()
    load(cluster.folder("model-owner"), "demo")
    sample = dev.take(np.arange(0, len(dev), len(dev) // 100)[:100])
    found = evaluate_privately(cluster.folder("data-owner"), read_model("demo"), sample)
    assert found.agreement.correct >= 99
    assert found.largest_logit_error is not None
    assert found.largest_logit_error < 0.1


def test_the_shipped_model_is_small() -> None:
    directory = read_model("demo").directory
    assert directory is not None
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 25e6
