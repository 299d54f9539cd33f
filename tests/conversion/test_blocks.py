"""Selected blocks: what is trained, what stays to the last bit, and what a step then takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from freediv.bench.training import StepCost
from freediv.conversion.cards.card import read_card
from freediv.conversion.training.blocks import read_blocks, trains
from freediv.errors import UserError
from freediv.model import read_model
from tiny import PUBLISHED

from .conftest import Task, freediv


def changed(before: Path, after: Path) -> set[str]:
    """Stages of which any weight is another; the model's files are in half precision."""
    a, b = (read_model(path).parameters for path in (before, after))
    return {stage for stage in a for name in a[stage] if np.abs(a[stage][name] - b[stage][name]).max() > 1e-6}


def test_layers_are_named_by_numbers_and_ranges() -> None:
    assert read_blocks("3-5") == (3, 4, 5)
    assert read_blocks("5, 1,3-3") == (1, 3, 5)
    for written in ("", "x", "5-3", "-1", "1,,2", "1-2-3", "0-128"):
        with pytest.raises(UserError, match=r"give numbers of layers, from 0, such as 3-5"):
            read_blocks(written)
    assert [trains((1, 11), f"encoder.{layer}.attention") for layer in (0, 1, 11)] == [False, True, True]
    assert trains((1,), "classifier") and not trains((1,), "embedding") and trains((), "embedding")


def test_only_named_layers_of_a_teacher_and_a_student_change(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ("--data", task.train)
    rates = ("--epochs", 1, "--tokens-per-batch", 128, "--learning-rate", 1e-3)
    out = tmp_path / "own"
    assert freediv(monkeypatch, "finetune", teacher, *data, *rates, "--blocks", "1", "-o", out) == 0
    assert changed(teacher, out) == {"encoder.1.attention", "encoder.1.feed_forward", "classifier"}
    assert read_card(out)["blocks"] == [1]
    assert "Trained: layer 1 and what answers, nothing else." in (out / "README.md").read_text()

    recipe = tmp_path / "recipe.yaml"
    mixed = "layers: {1: {attention: 2quad-freediv, activation: quad}}\nembedding: {}\n"
    recipe.write_text(
        task.recipe.read_text()
        .replace("functions: {attention: 2quad-freediv, activation: quad}", "functions: {}\nweights: float32")
        .replace("embedding: {vocabulary: 160, rank: 12}\n", mixed)
        .replace("epochs: 4", "epochs: 1")
        .replace("shapes: 2", "shapes: 1, long_share: 0")
    )
    student = tmp_path / "student"
    options = ("--recipe", recipe, *data, "--blocks", "1")
    assert freediv(monkeypatch, "convert", teacher, *options, "-o", student) == 0
    own, before = read_model(student).parameters, read_model(teacher).parameters
    for stage in ("encoder.0.attention", "encoder.0.feed_forward"):
        assert all(np.array_equal(own[stage][name], before[stage][name]) for name in before[stage])
    assert not np.allclose(own["encoder.1.attention"]["qkv.weight"], before["encoder.1.attention"]["qkv.weight"])
    assert read_card(student)["blocks"] == [1] and "blocks:\n- 1\n" in (student / "README.md").read_text()


def test_a_step_keeps_nothing_of_what_lies_below_and_no_moments_of_what_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, file = tiny.make_tiny_model(tmp_path / "wide", positions=64, **PUBLISHED), tmp_path / "rows.json"
    options = ("--length", 64, "--tokens-per-batch", 2048, "--repeats", 1, "--json", file)
    assert freediv(monkeypatch, "bench", "training", model, "--blocks", "1", "--blocks", "0", *options) == 0
    whole, upper, lower = (StepCost(**row) for row in json.loads(file.read_text()))
    assert (whole.blocks, upper.blocks, lower.blocks) == ([], [1], [0])
    assert f"(1 / {whole.operations / upper.operations:.2f})" in capsys.readouterr().out
    assert whole.trained > upper.trained == lower.trained
    # Two moments of four bytes for each number that is trained, of which there is one copy in any case.
    assert whole.state_bytes - upper.state_bytes == 8 * (whole.trained - upper.trained)
    assert whole.operations / upper.operations > 1.4 > 1.3 > whole.operations / lower.operations
    assert whole.temporary_bytes / upper.temporary_bytes > 1.4
    assert upper.temporary_bytes < lower.temporary_bytes


def test_what_does_not_fit_is_refused_by_one_line(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object) -> str:
        capsys.readouterr()
        assert freediv(monkeypatch, *words, "--data", task.train, "-o", tmp_path / "out") == 2
        return capsys.readouterr().err

    last = "the model's layers are 0 to 1"
    assert f"--blocks 2: {last}" in refused("finetune", task.pretrained, "--blocks", "1-2")
    own = ("convert", teacher, "--recipe", task.recipe)
    assert "blocks, layer 7: the teacher's layers are 0 to 1" in refused(*own, "--blocks", "7")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(task.recipe.read_text() + "leave_out: [0]\nblocks: [0]\n")
    assert "blocks: layer 0 is left out" in refused("convert", teacher, "--recipe", recipe)
