"""`freediv evaluate --against`: a model beside its teacher on the same texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.measures.comparison import Comparison
from freediv.conversion.measures.predictions import logits_of
from freediv.conversion.texts.examples import read_examples
from freediv.model import encode, read_model, read_tokenizer, write_model
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from .conftest import Task, freediv

LEAN = np.float32([6, 0])


@pytest.fixture
def other(teacher: Path, tmp_path: Path) -> Path:
    """The teacher with a classifier that leans to the first label."""
    model = read_model(teacher)
    classifier = model.parameters["classifier"]
    leaning = {**classifier, "bias": classifier["bias"] + LEAN}
    changed = replace(model, parameters={**model.parameters, "classifier": leaning})
    write_model(changed, tmp_path / "leaning", tokenizer=teacher)
    return tmp_path / "leaning"


def test_what_each_has_right_alone_and_how_far_the_probabilities_lie_apart(
    task: Task, teacher: Path, other: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freediv(monkeypatch, "evaluate", other, "--data", task.dev, "--against", teacher, "--json") == 0
    found = json.loads(capsys.readouterr().out)

    model = read_model(teacher)
    examples = read_examples(task.dev, label_names=model.architecture.label_names)
    logits = logits_of(
        model,
        encode(
            read_tokenizer(teacher),
            examples.texts,
            model.architecture.positions,
            read_tokenizer(teacher).get_vocab_size(),
        ),
    )
    leaning = logits + LEAN
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (logits.astype(float), leaning.astype(float)))
    expected, given = logits.argmax(-1), leaning.argmax(-1)
    assert found["divergence"] == pytest.approx((p * np.log(p / q)).sum(-1).mean(), rel=1e-3)
    assert found["agreement"]["correct"] == int((expected == given).sum()) < len(examples)
    assert found["only_student"] == int(((given == examples.labels) & (expected != examples.labels)).sum())
    assert found["only_teacher"] == int(((given != examples.labels) & (expected == examples.labels)).sum())
    assert found["teacher"]["correct"] - found["correct"] == found["only_teacher"] - found["only_student"]

    assert freediv(monkeypatch, "evaluate", other, "--data", task.dev, "--against", teacher) == 0
    assert found["chance"] < 0.01
    assert "rows; two equally accurate models differ by as much in less than 1 % of such data" in (
        capsys.readouterr().out
    )


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_chance_is_the_exact_binomial_as_scipy_computes_it(student: int, teacher: int) -> None:
    comparison = Comparison(None, None, None, student, teacher, 0.0)  # type: ignore[arg-type]
    expected = binomtest(student, student + teacher).pvalue if student + teacher else 1.0
    assert comparison.chance == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_other_labels_and_secure_are_refused(
    task: Task, teacher: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = read_model(teacher)
    renamed = model.architecture.model_copy(update={"label_names": ("bad", "good")})
    write_model(replace(model, architecture=renamed), tmp_path / "renamed", tokenizer=teacher)
    for arguments, error in (
        (("--against", tmp_path / "renamed"), "it knows the labels bad, good"),
        (("--against", teacher, "--secure", tmp_path), "give one of them"),
    ):
        assert freediv(monkeypatch, "evaluate", teacher, "--data", task.dev, *arguments) == 2
        assert error in capsys.readouterr().err
