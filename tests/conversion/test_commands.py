"""`freediv finetune`, `convert` and `evaluate` as a user runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.cards.card import read_card
from freediv.model import as_stored, read_model, read_pretrained
from huggingface_hub import ModelCard

from .conftest import Task, freediv


def test_a_teacher_and_a_tsv_end_as_a_student_with_a_card(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    student = tmp_path / "student"
    recipe = ["--recipe", task.recipe, "--data", task.train, "--dev", task.dev]
    assert freediv(monkeypatch, "convert", teacher, *recipe, "-o", student, "--note", "Made by a test.") == 0
    capsys.readouterr()

    found = {}
    for model in (teacher, student):
        assert freediv(monkeypatch, "evaluate", model, "--data", task.dev, "--json") == 0
        found[model.name] = json.loads(capsys.readouterr().out)
    assert found["out"]["accuracy"] > 0.95
    assert found["student"]["accuracy"] > found["out"]["accuracy"] - 0.03
    assert sum(bucket["count"] for bucket in found["student"]["by_length"].values()) == found["student"]["count"] == 200

    model = read_model(student)
    assert {f.attention for f in model.architecture.functions} == {"2quad-freediv"}
    assert (model.architecture.vocabulary, model.architecture.embedding_size, model.architecture.positions) == (
        160,
        12,
        32,
    )
    assert model.architecture.label_names == ("negative", "positive")
    card = (student / "README.md").read_text()
    kept = read_card(student)
    assert kept["accuracy"]["dev"]["teacher"] == found["out"]
    assert kept["accuracy"]["dev"]["student"]["correct"] == found["student"]["correct"]
    assert model.certificate.headroom_bits == kept["headroom_bits"] > 1
    assert kept["model"]["functions"] == [model.architecture.functions[0].model_dump()]
    for told in (
        "Made by a test.",
        "freediv convert",
        "2quad-freediv",
        "Agreement with the teacher",
        "Headroom",
        "jax",
    ):
        assert told in card
    front = ModelCard(card).data  # as a hub reads it
    assert (front.library_name, front.pipeline_tag, front.metrics) == ("freediv", "text-classification", ["accuracy"])
    assert front.base_model is None and front.get("freediv") is None  # the teacher's directory is on no hub
    results = {one.dataset_name: one for one in front.eval_results or []}
    assert set(results) == {task.dev.name, f"{task.train.name}, rows kept out of the training"}
    on_dev = results[task.dev.name]
    assert (on_dev.task_type, on_dev.dataset_type, on_dev.metric_type) == ("text-classification", "dev", "accuracy")
    assert on_dev.metric_value == found["student"]["accuracy"]
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_published_word_table_is_kept_as_it_is_whatever_the_training_did_to_the_teachers(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(task.recipe.read_text() + "weights: int8\n")
    student = tmp_path / "student"
    arguments = ["--recipe", recipe, "--data", task.train, "--dev", task.dev, "--published", task.pretrained]
    assert freediv(monkeypatch, "convert", teacher, *arguments, "-o", student) == 0
    model, labels = read_model(student), ("negative", "positive")
    published = as_stored(read_pretrained(task.pretrained, labels), "int8").parameters["embedding"]["word"]
    assert model.public_table is not None
    np.testing.assert_array_equal(model.public_table, published)
    assert not np.array_equal(published, as_stored(read_model(teacher), "int8").parameters["embedding"]["word"])
    pieces = [
        json.loads((path / "tokenizer.json").read_text())["model"]["vocab"] for path in (student, task.pretrained)
    ]
    assert pieces[0] == pieces[1]
    accuracy = read_card(student)["accuracy"]["dev"]
    assert accuracy["student"]["accuracy"] > accuracy["teacher"]["accuracy"] - 0.03


def test_every_command_shows_an_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("finetune", "convert", "evaluate"):
        assert freediv(monkeypatch, command, "--help") == 0
        assert re.search(rf"Examples?:\n    freediv {command} ", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate nowhere --data {dev}", "nowhere: not a model directory"),
        ("evaluate {teacher} --data nowhere.tsv", "nowhere.tsv: no such file"),
        ("evaluate {teacher} --data {dev} --label-column mood", "there is no column 'mood'"),
        ("evaluate {teacher} --data {three}", "label '2' is none of negative, positive"),
        ("finetune {pretrained} --data {dev} -o {teacher}", "is already there"),
        ("finetune {pretrained} --data {dev} -o nowhere/out", "nowhere: no such directory"),
        ("convert {teacher} --recipe nowhere.yaml --data {dev} -o new", "nowhere.yaml: no such file"),
        ("convert {pretrained}/missing --recipe {recipe} --data {dev} -o new", "not a model directory"),
        ("convert {teacher} --recipe {recipe} --data {dev} -o {teacher}", "is already there"),
        (
            "convert {teacher} --recipe {recipe} --data {dev} -o new --published demo",
            "its word pieces or their width are not the teacher's",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_exit_status_2(
    task: Task,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.tsv").write_text("sentence\tlabel\nfine\t1\nso so\t2\n")
    paths = {"teacher": teacher, "three": "three.tsv", **vars(task)}
    assert freediv(monkeypatch, *arguments.format(**paths).split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error
    assert [path.name for path in tmp_path.iterdir()] == ["three.tsv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--data ones.tsv", "every row has the label '1'; a classifier needs 2 to 1000 of them"),
        ("--data ones.tsv --label-names no,yes", "every row has the label 'yes'; give examples of two labels or more"),
        ("--data named.tsv --dev ones.tsv", "ones.tsv, line 2: label '1' is none of bad, good"),
        ("--data named.tsv --label-names bad,good,good", "good is there twice"),
        ("--data named.tsv --label-names bad,,good", "one has no name"),
    ],
)
def test_labels_are_not_taken_for_others_by_accident(
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ones.tsv").write_text("sentence\tlabel\nfine\t1\nwarm\t1\n", encoding="utf-8")
    Path("named.tsv").write_text("sentence\tlabel\nfine\tgood\ncold\tbad\n", encoding="utf-8")
    assert freediv(monkeypatch, "finetune", task.pretrained, *options.split(), "-o", "new") == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named.tsv", "ones.tsv"]


def test_the_shipped_model_is_accurate_small_and_has_headroom(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert freediv(monkeypatch, "evaluate", "demo", "--data", shared / "data" / "sst2" / "dev.tsv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] >= 0.87
    model = read_model("demo")
    assert model.certificate.headroom_bits is not None and model.certificate.headroom_bits > 4
    assert model.directory is not None
    assert sum(path.stat().st_size for path in model.directory.iterdir()) <= 25_000_000
