"""Pairs of texts and more than two classes, from a CSV to a student with a card."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.cards.card import read_card
from freediv.conversion.texts.examples import read_examples
from freediv.conversion.texts.pairing import as_read, separator_of
from freediv.errors import UserError
from freediv.model import read_model
from tokenizers import processors

from .conftest import GOOD, PLAIN, Task, freediv, make_tokenizer

COLUMNS = ("--text-column", "first", "--text-column", "second")
LABELS = ["first", "neither", "second"]
STAGES = """
hidden: {epochs: 0, learning_rate: 1.0e-3}
logits: {epochs: 6, learning_rate: 3.0e-3, warmup_steps: 10}
"""


def write_pairs(path: Path, count: int, seed: int) -> Path:
    """Which text praises decides the label: nobody can tell without knowing where the second begins."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "label"])
        for _ in range(count):
            label = LABELS[rng.integers(3)]
            texts = [list(rng.choice(PLAIN, 4)) for _ in range(2)]  # of one length: one shape is compiled
            if label != "neither":
                texts[label == "second"][:2] = rng.choice(GOOD, 2)
            writer.writerow([*(" ".join(rng.permutation(text)) for text in texts), label])
    return path


def test_pairs_of_three_classes_end_as_a_student_with_a_card(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, dev = (write_pairs(tmp_path / f"{name}.csv", count, seed) for name, count, seed in
                  (("train", 600, 1), ("dev", 200, 2)))  # fmt: skip
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    rates = ("--epochs", "8", "--learning-rate", "5e-3", "--tokens-per-batch", "256", "--longest", "32")
    assert freediv(monkeypatch, "finetune", task.pretrained, "--data", train, *COLUMNS, *rates, "-o", teacher) == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        task.recipe.read_text().replace("shapes: 2", "shapes: 1, long_share: 0").split("hidden:")[0] + STAGES
    )
    arguments = ("--recipe", recipe, "--data", train, "--dev", dev)
    assert freediv(monkeypatch, "convert", teacher, *arguments, *COLUMNS, "--seeds", "2", "-o", student) == 0
    check_seeds(student, 2)
    capsys.readouterr()
    for model in (teacher, student):
        assert freediv(monkeypatch, "evaluate", model, "--data", dev, *COLUMNS, "--json") == 0
        assert json.loads(capsys.readouterr().out)["accuracy"] > 0.93
    made = read_model(student)
    assert made.architecture.label_names == tuple(LABELS)
    assert separator_of(make_tokenizer()) == read_model(teacher).architecture.separator_token
    card = (student / "README.md").read_text()
    assert "pairs of texts" in card and "first, neither, second" in card

    assert freediv(monkeypatch, "evaluate", student, "--data", dev, "--text-column", "first") == 2
    assert "the model reads pairs of texts: name both columns" in capsys.readouterr().err


def check_seeds(model: Path, count: int) -> None:
    """The seed that was kept is the best on held-out rows, and the card has all."""
    card = read_card(model)
    held_out = {one["seed"]: one["accuracy"]["held out"]["correct"] for one in card["seeds"]}
    assert sorted(held_out) == list(range(count))
    assert held_out[card["seed"]] == max(held_out.values())
    assert "mean ± standard deviation" in (model / "README.md").read_text()


def test_a_plain_directory_reads_what_the_data_hold_and_others_what_they_were_made_for(
    task: Task, teacher: Path, tmp_path: Path
) -> None:
    pairs = read_examples(write_pairs(tmp_path / "a.csv", 5, 0), text_columns=("first", "second"))
    model = read_model(teacher)
    with pytest.raises(UserError, match="the model reads single texts: name one column"):
        as_read(model, pairs.texts, pairs.source)
    assert as_read(replace(model, plain=True), pairs.texts, pairs.source).architecture.separator_token == 3
    with pytest.raises(UserError, match="3 columns; name one, or the two of a pair"):
        read_examples(tmp_path / "a.csv", text_columns=("first", "second", "label"))


def test_a_tokenizer_that_parts_no_pairs_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    with pytest.raises(UserError, match="no special piece between"):
        separator_of(tokenizer)
