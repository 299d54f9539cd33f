"""What cards say: seeds, what was measured later, and models side by side."""

from __future__ import annotations

import inspect
import json
import shutil
import statistics
from pathlib import Path

import pytest
import yaml
from freediv.conversion.cards.attempts import Attempt, best, mean_and_deviation
from freediv.conversion.cards.card import extend_card, read_card
from freediv.conversion.cards.hub import front_matter
from freediv.conversion.measures.evaluation import evaluate_answers
from freediv.conversion.measures.headroom import headroom_of
from freediv.errors import UserError
from freediv.model import read_model
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from numpy import arange, zeros

from .conftest import freediv

DEMO = (read_model("demo").directory or Path()) / "README.md"


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
    assert after.split("---\n")[1] == before.split("---\n")[1]  # a hub's
    (card / "README.md").unlink()
    with pytest.raises(UserError, match="no page to add to"):
        extend_card(card, "cost", {}, ("a", "b"))
    (card / "measurements.json").unlink()
    with pytest.raises(UserError, match="no card with an accuracy"):
        extend_card(card, "cost", {}, ("a", "b"))


SHIPPED = [DEMO, *sorted((Path(__file__).resolve().parents[2] / "configs" / "recipes" / "cards").glob("*.md"))]


@pytest.mark.parametrize("page", SHIPPED, ids=lambda page: page.stem)
def test_a_hub_reads_the_results_of_a_card_that_ships(page: Path) -> None:
    """The front matter is the hub's alone, of known keys, and what it says is what the model's card says."""
    front, card = ModelCard.load(page).data, read_card(page)
    known = set(inspect.signature(ModelCardData).parameters) - {"kwargs"}
    assert set(front.to_dict()) <= known | {"model-index"}
    assert (front.model_name, front.license) == (DEMO.parent.name if page == DEMO else page.stem, "apache-2.0")
    told = {one.dataset_split: one.metric_value for one in front.eval_results or []}
    measured = {data: found.get("student", found)["accuracy"] for data, found in card["accuracy"].items()}
    assert told == {"validation": measured["dev"], "train": measured["held out"]}


def test_other_measures_have_the_names_that_the_hub_has_for_them() -> None:
    found = {"Spearman": 0.5, "count": 9, "interval": [0.4, 0.6], "by_length": {}, "Pearson": 0.25}
    front = front_matter("scorer", "text-classification", {"accuracy": {"dev": found}, "data": {"dev": "a.csv"}}, "o/n")
    assert (front["metrics"], front["base_model"]) == (["spearmanr", "pearsonr"], "o/n")
    name, results = model_index_to_eval_results(front["model-index"])
    assert name == "scorer"
    assert {(one.metric_type, one.metric_name): one.metric_value for one in results} == {
        ("spearmanr", "Spearman"): 0.5,
        ("pearsonr", "Pearson"): 0.25,
    }
    assert {(one.dataset_name, one.dataset_type) for one in results} == {("a.csv", "a")}


def test_a_card_of_one_file_is_read_and_becomes_two_when_something_is_added(card: Path) -> None:
    """As earlier commits wrote it: what programs read is in the front matter."""
    page, kept = card / "README.md", read_card(card)
    front = yaml.safe_dump({"library_name": "freediv", "pipeline_tag": "text-classification", "freediv": kept})
    page.write_text(f"---\n{front}---\n{page.read_text().split('---', 2)[2].lstrip()}")
    (card / "measurements.json").unlink()
    assert read_card(card) == kept
    extend_card(card, "cost", {"bytes": 3}, ("What it costs", "It costs 3."))
    assert read_card(card) == json.loads((card / "measurements.json").read_text()) == kept | {"cost": {"bytes": 3}}
    found = ModelCard.load(page)
    assert found.data.get("freediv") is None and "It costs 3." in found.text
    results = {one.dataset_name: one.metric_value for one in found.data.eval_results or []}
    assert results["dev"] == kept["accuracy"]["dev"]["student"]["accuracy"]


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
    assert freediv(monkeypatch, "results", aside) == 2
    assert "of one put aside, aside.json is the model's measurements.json" in capsys.readouterr().err
    shutil.copy(card / "measurements.json", card.parent / "aside.json")
    assert freediv(monkeypatch, "results", aside, "--json") == 0
    assert json.loads(capsys.readouterr().out) == [found[0] | {"model": "aside"}]
    assert freediv(monkeypatch, "results", card.parent) == 2
