"""Models of every kind of answer, from a file to a teacher, and from a teacher to a student with a card."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.cards.card import own_accuracy, read_card
from freediv.conversion.texts.examples import read_examples
from freediv.errors import UserError
from freediv.model import Architecture, Model, initial_parameters, read_model, write_model
from freediv.model.answers import ANSWERS

from .conftest import BAD, GOOD, PLAIN, Task, freediv

Row = dict[str, object]
RATES = (
    "--epochs",
    "6",
    "--learning-rate",
    "5e-3",
    "--tokens-per-batch",
    "256",
    "--longest",
    "16",
    "--hold-out",
    "0.1",
)


def scored(words: list[str]) -> Row:
    """How much a text praises."""
    return {"sentence": " ".join(words), "label": sum(w in GOOD for w in words) - sum(w in BAD for w in words) + 0.5}


def labelled(words: list[str]) -> Row:
    """Whether it praises, and whether it blames: both, one, or none."""
    return {
        "sentence": " ".join(words),
        "label": [name for name, own in (("good", GOOD), ("bad", BAD)) if {*own} & {*words}],
    }


def tagged(words: list[str]) -> Row:
    """Runs of praise."""
    tags = ["O" if w not in GOOD else "I-good" if n and words[n - 1] in GOOD else "B-good" for n, w in enumerate(words)]
    return {"sentence": words, "label": tags}


def write(path: Path, count: int, seed: int, row: Callable[[list[str]], Row]) -> Path:
    rng = np.random.default_rng(seed)
    rows = [
        row([str(w) for w in rng.permutation([*rng.choice(PLAIN, 5), *rng.choice([*GOOD, *BAD], 4)])])
        for _ in range(count)
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def small(task: Task) -> str:
    """A recipe that keeps the whole table, and trains for seconds."""
    first = re.sub(r"embedding:.*\n", "", task.recipe.read_text().replace("shapes: 2", "shapes: 1").split("hidden:")[0])
    return first + (
        "hidden: {epochs: 1, learning_rate: 1.0e-3}\nlogits: {epochs: 3, learning_rate: 3.0e-3, warmup_steps: 10}\n"
    )


@pytest.mark.parametrize(
    ("kind", "row", "measure", "least"),
    [("score", scored, "Spearman", 0.8), ("labels", labelled, "micro F1", 0.8), ("pieces", tagged, "entity F1", 0.6)],
)
def test_a_teacher_of_a_kind_becomes_a_student_that_its_own_measure_finds_good(
    kind: str, row: Callable[[list[str]], Row], measure: str, least: float, task: Task, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train, dev = write(tmp_path / "train.jsonl", 600, 1, row), write(tmp_path / "dev.jsonl", 150, 2, row)
    teacher, student, recipe = tmp_path / "teacher", tmp_path / "student", tmp_path / "recipe.yaml"
    data = ("--data", train, "--dev", dev)
    assert freediv(monkeypatch, "finetune", task.pretrained, *data, "--answer", kind, *RATES, "-o", teacher) == 0
    assert read_model(teacher).architecture.answer == kind
    recipe.write_text(small(task))
    assert freediv(monkeypatch, "convert", teacher, "--recipe", recipe, *data, "-o", student) == 0
    for model in (teacher, student):
        card = read_card(model)
        assert card["measure"] == measure and own_accuracy(card).value > least, card["accuracy"]
        assert f"{measure[:1].upper()}{measure[1:]} with its 95 % interval" in (model / "README.md").read_text()
    capsys.readouterr()
    assert freediv(monkeypatch, "evaluate", student, "--data", dev, "--against", teacher, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found[measure] == pytest.approx(read_card(student)["accuracy"]["dev"]["student"][measure], abs=1e-6)
    assert found["only_student"] is None
    assert freediv(monkeypatch, "results", teacher, student, "--markdown") == 0
    assert measure in capsys.readouterr().out


def test_a_sentence_encoder_learns_the_vectors_of_another(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide, learner, student, recipe = (tmp_path / name for name in ("guide", "learner", "student", "recipe.yaml"))
    published = read_model(task.pretrained)
    encoder = {"answer": "vector", "label_names": (), "pooler": "none", "pooling": "mean", "normalised": True}
    architecture = Architecture(**{**published.architecture.model_dump(), **encoder})
    write_model(Model(architecture, initial_parameters(architecture, 3, 0.3)), guide, tokenizer=task.pretrained)
    train = write(tmp_path / "train.jsonl", 300, 1, scored)
    options = ("--data", train, "--answer", "vector", *RATES)
    assert freediv(monkeypatch, "finetune", task.pretrained, *options, "-o", learner) == 2
    assert "give a --guide" in capsys.readouterr().err
    assert freediv(monkeypatch, "evaluate", guide, "--data", train) == 2
    assert "add --against TEACHER" in capsys.readouterr().err
    assert freediv(monkeypatch, "finetune", task.pretrained, *options, "--guide", guide, "-o", learner) == 0
    recipe.write_text(small(task))
    assert freediv(monkeypatch, "convert", guide, "--recipe", recipe, "--data", train, "-o", student) == 0
    for model, least in ((learner, 0.8), (student, 0.95)):
        card = read_card(model)
        assert card["measure"] == "cosine" and own_accuracy(card).value > least
    capsys.readouterr()
    assert freediv(monkeypatch, "evaluate", student, "--data", train, "--against", guide, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agreement"]["cosine"] > 0.95 and found["teacher"] is None


def test_columns_of_other_forms_are_read_or_refused_with_the_line(tmp_path: Path) -> None:
    def read(rows: list[Row], kind: str, **more: object) -> object:
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return read_examples(path, target=ANSWERS[kind].target, **more)  # type: ignore[arg-type]

    found = read([{"sentence": "x", "label": "b, a"}, {"sentence": "y", "label": []}], "labels")
    assert found.label_names == ("a", "b") and found.labels.tolist() == [[1, 1], [0, 0]]
    found = read([{"sentence": "x y", "label": "O B-Z"}, {"sentence": ["z"], "label": ["I-Z"]}], "pieces")
    assert found.label_names == ("O", "B-Z", "I-Z") and found.labels.tolist() == [[0, 1], [2, -100]]
    assert read(
        [{"sentence": "x", "label": "1e-3"}, {"sentence": "y", "label": 2}], "score"
    ).labels.tolist() == pytest.approx([1e-3, 2])
    for rows, kind, told in [
        ([{"sentence": "x", "label": "much"}], "score", "line 1: the label 'much' is no number"),
        (
            [{"sentence": "x", "label": 1}, {"sentence": "x", "label": "nan"}],
            "score",
            "line 2: the label is not finite",
        ),
        ([{"sentence": "x y", "label": ["O"]}], "pieces", "line 1: has 2 words, and another number of labels"),
        ([{"sentence": ["x y"], "label": ["O"]}], "pieces", "line 1: column 'sentence' has a list with"),
        ([{"sentence": "x", "label": [["a"]]}], "labels", "line 1: column 'label' must hold text"),
        ([{"sentence": "x", "label": []}], "labels", "no row has a label"),
    ]:
        with pytest.raises(UserError, match=told):
            read(rows, kind)
