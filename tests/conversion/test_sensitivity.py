"""What each slot of a teacher can bear: nothing where nothing changes, else what the formula says, read plainly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from freediv.bench.choices import LayerPrice, Price, Sensed, costs_of, read_sensed
from freediv.cli.cards import _SLOTS
from freediv.cli.options.budgets import CRITERIA as OPTIONS
from freediv.conversion.student.budget import CRITERIA, Budget, Option, Prices, as_recipe, choose, losses
from freediv.conversion.student.choices import SLOTS, Choice, choices_of, own_choices
from freediv.conversion.student.recipe import read_recipe
from freediv.conversion.student.replacement import make_student
from freediv.conversion.student.sensitivity import Sensitivity, measure_sensitivity
from freediv.errors import UserError
from freediv.model import Architecture, LayerSizes, Model, hidden_states, read_model
from freediv.model.answers import answer_of
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.pooling import Pool
from freediv.model.reading.texts import TextReader
from tiny import PUBLISHED
from tokenizers import Tokenizer, models

from .conftest import Task, freediv

SEQUENCES = [np.random.default_rng(seed).integers(1, 40, 12).astype(np.int32) for seed in range(16)]
READER = TextReader(Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w0")))


def measured(teacher: Model, *choices: Choice) -> list[list[Sensitivity]]:
    return list(measure_sensitivity(teacher, READER, SEQUENCES, choices))


def test_what_is_a_choice_comes_from_the_registries() -> None:
    teacher = tiny.architecture(**PUBLISHED)
    found = list(choices_of(teacher))
    assert {choice.slot for choice in found} == set(SLOTS) == set(_SLOTS)
    assert {c.value for c in found if c.slot == "attention"} == ATTENTIONS.keys() - {"softmax", "none"}
    assert [c.value for c in found if c.slot in ("heads", "intermediate", "pool")] == [2, 1, 12, 6, 2]
    with pytest.raises(UserError, match="layers are not alike"):
        list(choices_of(teacher.model_copy(update={"sizes": (LayerSizes(heads=1), LayerSizes())})))


def test_nothing_is_lost_where_nothing_changes() -> None:
    teacher = tiny.model(scale=0.3, **PUBLISHED)
    for layers in measured(teacher, Choice("attention", "softmax"), Choice("intermediate", 24)):
        assert [one.layer for one in layers] == [0, 1]
        assert all(one.alone > 100 and abs(one.lost) < 20 for one in layers)  # what float32 loses
        assert all(abs(one.divergence) < 1e-6 for one in layers)


def test_decibels_and_divergence_are_those_of_the_formula() -> None:
    """Beside whole models in which one layer differs, and one in which all do."""
    teacher = tiny.model(scale=0.3, **PUBLISHED)
    (layers,) = measured(teacher, Choice("activation", "relu"))
    ids = np.stack(SEQUENCES)

    def run(*changed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        functions = list(teacher.architecture.functions)
        for layer in changed:
            functions[layer] = functions[layer].model_copy(update={"activation": "relu"})
        seen: dict[str, np.ndarray] = {}
        architecture = teacher.architecture.model_copy(update={"functions": tuple(functions)})
        inputs = {"token_ids": ids, "mask": np.ones(ids.shape, np.float32)}
        _, logits = hidden_states(architecture, teacher.parameters, inputs, observe=seen.__setitem__)
        return seen, np.asarray(logits)

    def decibels(changed: dict[str, np.ndarray], name: str) -> float:
        x, y = (np.asarray(rows[f"{name}/output"], np.float64) for rows in (exact, changed))
        noise = np.maximum(np.linalg.norm(x - y, axis=-1), 1e-30)
        return 20 * np.log10(np.minimum(np.linalg.norm(x, axis=-1) / noise, 1e6).mean())

    exact, wanted = run()
    everywhere, _ = run(0, 1)
    for own in layers:
        alone, logits = run(own.layer)
        name = f"encoder.{own.layer}"
        assert own.alone == pytest.approx(decibels(alone, f"{name}.feed_forward"), abs=0.1)
        into, out = (decibels(everywhere, f"{name}.{kind}") for kind in ("attention", "feed_forward"))
        assert own.lost == pytest.approx(into - out, abs=0.1 if own.layer else 20)  # into the first: float32's
        each = answer_of(teacher.architecture).distance(logits, wanted, np.ones(ids.shape))
        assert own.divergence == pytest.approx(float(np.mean(each)), rel=1e-2)
    assert layers[0].lost > 60 > layers[1].lost  # nothing had come in damaged


def test_a_pooling_is_measured_by_what_becomes_of_the_answer() -> None:
    teacher = tiny.model(scale=0.3, **PUBLISHED)
    (layers,) = measured(teacher, Choice("pool", 2))
    assert all(one.lost is None and one.alone is None for one in layers)
    assert layers[0].divergence > layers[1].divergence == pytest.approx(0, abs=1e-6)  # the first row is apart


def test_costs_are_those_of_a_layer_with_the_choice() -> None:
    teacher = tiny.architecture(**PUBLISHED, hidden=32, intermediate=64)
    (none, last), (narrow, narrow_last), (pooled, _) = costs_of(
        [Choice("intermediate", 16), Choice("pool", 2)], teacher, 16
    )
    assert none.messages == narrow.messages
    assert none.sent_bytes > narrow.sent_bytes
    assert 0.4 < pooled.sent_bytes / none.sent_bytes < Pool(rows=2).length(16) / 16 + 0.1
    # Of the last layer the classifier reads one row: sixteen times fewer neurons are made, or left out.
    assert last.sent_bytes < none.sent_bytes / 2
    assert last.sent_bytes - narrow_last.sent_bytes < (none.sent_bytes - narrow.sent_bytes) / 8


def test_the_command_prints_and_writes_what_was_measured(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, chart = tmp_path / "rows.json", tmp_path / "rows.svg"
    options = ["--data", task.train, "--rows", 16, "--slot", "pool", "--no-costs", "--json", file, "--chart", chart]
    assert freediv(monkeypatch, "sensitivity", teacher, *options) == 0
    (row,) = json.loads(file.read_text())
    assert (row["slot"], row["value"], row["cost"], len(row["layers"])) == ("pool", 2, None, 2)
    printed = capsys.readouterr().out
    assert "pool 2" in printed and f"{row['layers'][0]['divergence']:.4f}" in printed
    assert "decibels lost" in chart.read_text() or "<svg" in chart.read_text()


QUAD, RELU, POOL = (Choice("activation", "quad"), Choice("activation", "relu"), Choice("pool", 2))


def test_a_budget_takes_what_loses_least_for_what_it_saves() -> None:
    """Two layers of 10, whose own activation costs 4 more; a pooling halves what follows."""
    options = [Option(RELU, (0.1, 0.4)), Option(QUAD, (0.5, 0.6)), Option(POOL, (3.0, 0.0))]
    prices = Prices(10.0, 0.5, {"activation": 4.0}, {RELU: 2.0, QUAD: 0.0})

    def chosen(budget: float) -> tuple[dict[tuple[int, str], Choice], float]:
        plan = choose([prices] * 2, options, budget)
        return {place: option.choice for place, option in plan.chosen.items()}, plan.cost

    assert chosen(28) == ({}, 28)
    assert chosen(26) == ({(0, "activation"): RELU}, 26)
    # 0.6 for 4 in layer 1 is less for each than 0.4 for 2 more in layer 0, or 0.4 for 2 in layer 1.
    assert chosen(25) == ({(0, "activation"): RELU, (1, "activation"): QUAD}, 22)
    assert chosen(20)[0] == {(0, "activation"): QUAD, (1, "activation"): QUAD}
    assert chosen(15) == ({(0, "activation"): QUAD, (1, "activation"): QUAD, (0, "pool"): POOL}, 15)
    with pytest.raises(UserError, match="the cheapest that these choices make costs 15"):
        chosen(14)


def test_a_budget_takes_nothing_from_a_last_layer_where_that_saves_nothing() -> None:
    """It loses least there, but its neurons are made for one row alone."""
    narrow = Choice("intermediate", 12)
    usual, last = (Prices(10.0, 1.0, {}, {narrow: more}) for more in (-4.0, -0.1))
    plan = choose([usual, usual, last], [Option(narrow, (0.5, 0.3, 0.02))], 26)
    assert list(plan.chosen) == [(1, "intermediate")] and plan.cost == 26


def test_the_recipe_of_a_budget_is_one_that_convert_reads(tmp_path: Path) -> None:
    teacher = tiny.model(scale=0.3, **PUBLISHED)
    heads, budget = Choice("heads", 2), Budget.of("15 MB")
    options = [Option(QUAD, (0.4, 0.6)), Option(POOL, (3.0, 9.0)), Option(heads, (5.0, 0.1))]
    prices = Prices(10.0, 0.5, {"activation": 4.0}, {QUAD: 0.0, heads: -2.0})
    plan = choose([prices] * 2, options, budget.most)
    path = tmp_path / "chosen.yaml"
    path.write_text(as_recipe(plan, teacher.architecture, budget, "divergence", 32))
    assert "# divergence 0.6000" in path.read_text()
    student = make_student(teacher, READER, SEQUENCES, read_recipe(path)).model.architecture
    assert [one.activation for one in student.functions] == ["quad", "quad"]
    assert [one.attention for one in student.functions] == ["softmax", "softmax"]
    assert student.sizes == (LayerSizes(pool=Pool(rows=2)), LayerSizes(heads=2))


@pytest.mark.parametrize("written", ["60", "60 GB", "-1 MB", "MB", "1e3 MB"])
def test_a_budget_without_its_unit_is_refused(written: str) -> None:
    with pytest.raises(UserError, match="give a number and MB, messages or seconds"):
        Budget.of(written)


def sensed(teacher: Architecture) -> Sensed:
    """A teacher's layers lose little by one activation in decibels, and by the other in divergence; a MB each way."""
    found = [
        [Sensitivity(layer, c.slot, c.value, lost, 9.0, divergence) for layer in range(teacher.layers)]
        for c, lost, divergence in ((QUAD, 1.0, 0.5), (RELU, 2.0, 0.1), (POOL, None, 0.01))
    ]
    prices = [
        LayerPrice(price, price) for size in (10, 10, 10, 5, 10, 11, 10, 10) if (price := Price(1e6 * size, 10, 0.1))
    ]
    return Sensed([QUAD, RELU, POOL], found, own_choices(teacher), prices, 32)


def test_a_criterion_says_what_a_choice_loses() -> None:
    assert CRITERIA == OPTIONS
    found = sensed(tiny.architecture(**PUBLISHED)).found
    assert losses("divergence", found, 0) == [(0.5, 0.5), (0.1, 0.1), (0.01, 0.01)]
    assert losses("sqnr", found, 0) == [(1.0, 1.0), (2.0, 2.0), None]  # fewer rows have no decibels
    assert losses("depth", found, 0)[0] == (10.0, 1.0)
    assert losses("random", found, 0) == losses("random", found, 0) != losses("random", found, 1)


def test_a_conversion_within_a_budget_leaves_the_recipe_that_it_chose(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, recipe, out = tmp_path / "rows.json", tmp_path / "recipe.yaml", tmp_path / "student"
    own = sensed(read_model(teacher).architecture)
    rows.write_text(json.dumps(own.entries()))
    assert read_sensed(rows, read_model(teacher).architecture) == own
    recipe.write_text(task.recipe.read_text().replace("epochs: 4", "epochs: 0"))

    def convert(budget: str, criterion: str) -> tuple[int, str]:
        options = ("--budget", budget, "--choose-by", criterion, "--measured", rows, "-o", out)
        status = freediv(monkeypatch, "convert", teacher, "--recipe", recipe, "--data", task.train, *options)
        return status, capsys.readouterr().err

    assert convert("21 MB", "sqnr")[0] == 0
    chosen = (tmp_path / "student.yaml").read_text()
    assert chosen.startswith("# For at most 21 MB of a party in all layers, chosen by sqnr:\n")
    assert "activation: quad  # 1.0 dB" in chosen and "rank: 12" in chosen  # what else the recipe said
    functions = read_model(out).architecture.functions
    assert sorted(one.activation for one in functions) == ["gelu", "quad"]
    status, told = convert("21 MB", "divergence")
    assert status == 2 and "student is already there" in told
    out.rename(tmp_path / "other")
    status, told = convert("21 MB", "divergence")
    assert status == 2 and "student.yaml: is there already, and not of this budget" in told
    rows.write_text(json.dumps(own.entries()[:-1]))
    (tmp_path / "student.yaml").unlink()
    assert "was measured of another teacher" in convert("21 MB", "divergence")[1]
    rows.write_text("[]")
    assert "holds no costs of choices" in convert("21 MB", "divergence")[1]
