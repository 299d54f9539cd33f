"""What cards say: seeds, what was measured later, and models side by side."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

import pytest
from freediv.conversion.cards.attempts import Attempt, best, mean_and_deviation
from freediv.conversion.cards.card import extend_card, read_card
from freediv.conversion.measures.evaluation import evaluate_answers
from freediv.conversion.measures.headroom import headroom_of
from freediv.errors import UserError
from freediv.model import read_model
from numpy import arange, zeros

from .conftest import freediv


def attempt(seed: int, held_out: int, dev: int, largest: float) -> Attempt:
    """Of ten rows each, so many right."""
    evaluations = {
        name: evaluate_answers(read_model("demo").architecture, (arange(10) >= right).astype(int), zeros(10), [5] * 10)
        for name, right in (("held out", held_out), ("dev", dev))
    }
    return Attempt(seed, read_model("demo"), {}, evaluations, headroom_of({"stage": largest}))


def test_the_seed_kept_is_the_best_on_held_out_rows_among_those_with_headroom() -> None:
    made = [attempt(0, 6, 9, 1.0), attempt(1, 7, 5, 1.0), attempt(2, 8, 8, 2.0**25)]
    assert best(made, 1.0).seed == 1
    assert best(made[2:], 1.0).seed == 2
    assert mean_and_deviation([0.5, 0.7, 0.9]) == pytest.approx((0.7, statistics.stdev([0.5, 0.7, 0.9])))


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return Path(shutil.copytree(read_model("demo").directory or "", tmp_path / "model"))


def test_a_card_takes_in_what_was_measured_later_and_keeps_the_rest(card: Path) -> None:
    before = (card / "README.md").read_text()
    for value in (1, 2):
        extend_card(card, "cost", {"bytes": value}, ("What it costs", f"It costs {value}."))
    after = (card / "README.md").read_text()
    assert read_card(card) == {**read_card(read_model("demo").directory or Path()), "cost": {"bytes": 2}}
    assert "It costs 2." in after and "It costs 1." not in after
    sections = [line for line in before.splitlines() if line.startswith("## ")]
    rest = [line for line in after.splitlines() if line.startswith("## ")]
    assert [line for line in rest if line != "## What it costs"] == [s for s in sections if s != "## What it costs"]
    (card / "README.md").unlink()
    with pytest.raises(UserError, match="no card with an accuracy"):
        extend_card(card, "cost", {}, ("a", "b"))


def test_results_are_one_row_a_model_with_what_the_cards_say(
    card: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    extend_card(card, "cost", {"layer_sent_bytes": 2.5e6, "layer_messages": 61.0, "length": 32}, ("a", "b"))
    extend_card(card, "secure", {"correct": 868, "count": 872}, ("c", "d"))
    assert freediv(monkeypatch, "results", card, "--markdown") == 0
    header, _, row = capsys.readouterr().out.strip().splitlines()
    cells = dict(zip(header.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    measured = read_card(card)["accuracy"]["dev"]
    for column, who in (("teacher", "teacher"), ("before distillation",) * 2, ("after", "student")):
        assert cells[column].endswith(f"({measured[who]['correct']} / {measured[who]['count']})")
    assert cells["secure"] == "99.5 % (868 / 872)"
    assert (cells["MB / layer"], cells["messages / layer"]) == ("2.50 (32 pieces)", "61")
    assert freediv(monkeypatch, "results", card, "demo", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["model"] for one in found] == ["model", "demo"]
    aside = shutil.copy(card / "README.md", card.parent / "aside.md")
    assert freediv(monkeypatch, "results", aside, "--json") == 0
    assert json.loads(capsys.readouterr().out) == [found[0] | {"model": "aside"}]
    assert freediv(monkeypatch, "results", card.parent) == 2
