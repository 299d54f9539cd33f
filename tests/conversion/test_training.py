"""The training loop: what a step is, and when training ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from freediv.conversion.run_directory import RunDirectory
from freediv.conversion.texts.batches import plan_batches
from freediv.conversion.training import outlook
from freediv.conversion.training.loop import train
from freediv.conversion.training.phase import Epoch, NumpyParameters, Phase, Schedule, Stopping, Trained
from freediv.conversion.training.steps import Programs
from freediv.conversion.training.stopping import stopping
from freediv.model.precision import multiply

from .conftest import Task, freediv, make_sentences, write_tsv

LENGTH = 4
RATE = 0.01


def regression(parameters: Mapping[str, Any], constants: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
    """A line through the first token's number."""
    x = batch["token_ids"][:, 0] / 10.0
    error = parameters["line"]["slope"] * x + parameters["line"]["offset"] - batch["targets"]
    return jnp.sum(jnp.square(error) * batch["weight"]) / jnp.sum(batch["weight"])


def phase(rows_per_batch: int, epochs: int, length: int = LENGTH, **schedule: Any) -> Phase:
    """Eight rows, in their order."""
    numbers = np.arange(8)
    sequences = [np.full(length, number) for number in numbers]
    plan = plan_batches([length] * 8, tokens_per_batch=length * rows_per_batch)
    targets = (0.3 * numbers + 1).astype(np.float32)
    chosen = Schedule(**({"learning_rate": RATE, "warmup_steps": 1, "weight_decay": 0.0} | schedule))
    return Phase("line", regression, (Epoch(sequences, targets, plan),) * epochs, chosen, pad_token=0, seed=0)


def trained(phase: Phase, directory: Path, programs: Programs | None = None) -> Trained:
    start = {"line": {"slope": np.zeros((), np.float32), "offset": np.zeros((), np.float32)}}
    with RunDirectory(directory, {}) as run:
        return train(phase, start, None, run, programs or Programs())


def test_a_step_of_accumulated_batches_is_the_step_of_one_large_batch(tmp_path: Path) -> None:
    large = trained(phase(8, 6), tmp_path / "large").parameters["line"]
    small = trained(phase(2, 6, accumulate=4), tmp_path / "small").parameters["line"]
    assert large["slope"] > RATE
    for name, value in large.items():
        assert small[name] == pytest.approx(value, rel=1e-5)


def test_another_seed_takes_the_steps_that_are_compiled(tmp_path: Path) -> None:
    programs, traced = Programs(), list[int]()

    def loss(parameters: Mapping[str, Any], constants: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        traced.append(batch["token_ids"].shape[1])
        return regression(parameters, constants, batch, key) * (1 + 0.1 * jax.random.uniform(key))

    first, second = (replace(phase(8, 2), loss=loss, seed=seed) for seed in (0, 1))
    results = [trained(one, tmp_path / f"{number}", programs) for number, one in enumerate((first, second, first))]
    assert traced == [LENGTH]
    assert results[0].losses == results[2].losses != results[1].losses
    longer = replace(first, epochs=(*first.epochs, phase(8, 1, length=LENGTH + 1).epochs[0]))
    trained(longer, tmp_path / "longer", programs)
    assert traced == [LENGTH, LENGTH + 1]


def test_the_learning_rate_warms_up_and_decays_by_steps_not_by_batches() -> None:
    schedule = Schedule(1.0, warmup_steps=4)
    rates = [schedule.rate(batch, 44) for batch in range(44)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[5:] == pytest.approx([1 - number / 40 for number in range(1, 40)])
    twice = replace(schedule, warmup_steps=8, accumulate=2)
    assert [twice.rate(batch, 88) for batch in range(88)] == [rate for rate in rates for _ in range(2)]
    assert replace(schedule, warmup_steps=1000).rate(0, 44) == 0.25


class Judge:
    """Gives losses that were decided beforehand, and remembers what it was shown."""

    def __init__(self, *losses: float) -> None:
        self.losses = losses
        self.shown: list[NumpyParameters] = []

    def __call__(self, parameters: NumpyParameters) -> float:
        self.shown.append(parameters)
        return self.losses[len(self.shown) - 1]


@pytest.mark.parametrize(
    ("losses", "patience", "seen", "kept"),
    [
        ((0.5, 0.2, 0.3, 0.3, 0.1), 2, 4, 1),
        ((0.5, 0.2, 0.2, 0.2, 0.3), 3, 5, 1),
        ((0.5, 0.4, 0.3, 0.2, 0.1), 1, 5, 4),
    ],
)
def test_training_ends_early_with_the_best_epoch(
    tmp_path: Path, losses: tuple[float, ...], patience: int, seen: int, kept: int
) -> None:
    judge = Judge(*losses)
    found = trained(replace(phase(2, 5), stopping=Stopping(judge, patience)), tmp_path)
    assert found.held_out == losses[:seen]
    assert (len(found.losses), found.planned) == (seen, 5)
    assert found.parameters == judge.shown[kept]
    assert not list(tmp_path.glob("*.best*"))


class PowerCut(Exception):  # noqa: N818 (an event, not a mistake)
    pass


@pytest.mark.parametrize("end", [PowerCut, KeyboardInterrupt])
def test_a_training_cut_while_it_is_judged_ends_like_one_that_was_not(tmp_path: Path, end: type[BaseException]) -> None:
    losses = (0.5, 0.2, 0.3, 0.4, 0.1)
    whole = trained(replace(phase(2, 5), stopping=Stopping(Judge(*losses), 2)), tmp_path / "whole")
    left = list(losses)

    def dying(parameters: NumpyParameters) -> float:
        if len(left) == 2:
            raise end
        return left.pop(0)

    with pytest.raises(end):
        trained(replace(phase(2, 5), stopping=Stopping(dying, 2)), tmp_path / "cut")
    rest = trained(replace(phase(2, 5), stopping=Stopping(Judge(*losses[3:]), 2)), tmp_path / "cut")
    assert rest.held_out == whole.held_out == losses[:4]
    assert len(rest.losses) == len(whole.losses)
    assert rest.parameters == whole.parameters


def test_a_phase_multiplies_in_its_own_precision(tmp_path: Path) -> None:
    seen = []

    def loss(parameters: Mapping[str, Any], constants: Any, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
        numbers = batch["token_ids"][:, :1] / 10.0
        text = str(jax.make_jaxpr(multiply)(numbers, parameters["line"]["slope"].reshape(1, 1)))
        seen.append("bf16" in text)
        return regression(parameters, constants, batch, key)

    for precision in ("float32", "bfloat16"):
        trained(replace(phase(8, 1), loss=loss, precision=precision), tmp_path / precision)
    assert seen == [False, True]


def test_patience_needs_rows_to_judge_by(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", task.train, "--patience", "1", "--hold-out", "0", "-o", tmp_path / "out"]
    assert freediv(monkeypatch, "finetune", task.pretrained, *arguments) == 2
    assert "--hold-out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_teacher_in_half_precision_that_stops_early_says_so_in_its_card(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--data", task.train, "--precision", "bfloat16", "--patience", "1", "--epochs", "30"]
    assert freediv(monkeypatch, "finetune", task.pretrained, *arguments, "-o", tmp_path / "out") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "precision: bfloat16" in card
    assert "of rows held out, after it" in card
    done, planned = re.search(r"\| finetune \| (\d+) of (\d+) \|", card).groups()
    assert int(done) < int(planned) == 30


def test_a_second_training_may_take_whole_rows_alone(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, labels = make_sentences(120, seed=9)
    phrases = [" ".join(text.split()[1:]) for text in texts]
    whole = len({text for text in texts if not any(f" {text} " in f" {other} " for other in texts if other != text)})
    data = write_tsv(tmp_path / "train.tsv", [*phrases, *texts], [*labels, *labels])
    options = ["--whole-rows", "--hold-out", "0", "--epochs", "1", "--tokens-per-batch", "128"]
    assert freediv(monkeypatch, "finetune", teacher, "--data", data, *options, "-o", tmp_path / "out") == 0
    assert f"{whole} rows" in (tmp_path / "out" / "README.md").read_text()


def test_a_loss_of_rows_held_out_is_the_mean_over_them_all(tmp_path: Path) -> None:
    whole, parts = (phase(rows, 1).epochs[0] for rows in (8, 3))
    line = {"line": {"slope": np.float32(0.2), "offset": np.float32(0.5)}}
    for rows in (whole, parts):
        judge = stopping(2, regression, (rows,), None, 0, "float32")
        error = 0.2 * np.arange(8) / 10 + 0.5 - (0.3 * np.arange(8) + 1)
        assert judge is not None and judge.loss(line) == pytest.approx(np.mean(error**2))
    assert stopping(0, regression, (), None, 0, "float32") is None


def test_a_conversion_says_how_long_it_takes_and_a_stage_ends_when_rows_held_out_gain_no_more(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    lines = [line for line in task.recipe.read_text().splitlines() if not line.startswith(("hidden", "logits"))]
    stage = "{epochs: 30, patience: 1, learning_rate: 0.02, noise: 0.1}"
    recipe.write_text("\n".join([*lines, f"hidden: {stage}", f"logits: {stage}"]) + "\n")
    arguments = ["--recipe", recipe, "--data", task.train, "-o", tmp_path / "out"]
    assert freediv(monkeypatch, "convert", teacher, *arguments, "--allow-overflow") == 0
    said = capsys.readouterr().err
    each = r"\(hidden ([\d,]+) steps in \d+ \w+; logits ([\d,]+) steps in \d+ \w+\)"
    planned = re.search(rf"^([\d,]+) steps in 2 stages: about \d+ \w+ left {each}$", said, re.MULTILINE)
    assert planned is not None
    total, *parts = (int(number.replace(",", "")) for number in planned.groups())
    assert total == sum(parts) and said.count("steps in 2 stages") == 1
    assert re.search(r"^hidden: epoch 1/30  loss [\d.]+  about \d+ \w+ left$", said, re.MULTILINE)
    card = (tmp_path / "out" / "README.md").read_text()
    for name in ("hidden", "logits"):
        row = re.search(rf"\| {name} \| (\d+) of 30 \|.*\| ([\d., ]+) \|\n", card)
        assert row is not None
        held_out = [float(loss) for loss in row[2].split(", ")]
        assert int(row[1]) == len(held_out) < 30 and held_out[-1] >= held_out[-2] == min(held_out)


def test_what_is_left_goes_by_the_pace_of_the_steps_that_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(outlook.time, "monotonic", lambda: now[0])
    plan = outlook.Outlook({"hidden": 3000, "logits": 1000}, trainings=2)
    plan.begin("hidden", 1000)  # where a checkpoint was
    now[0] = 20.0
    assert plan.first(1010) == (
        "4,000 steps in 2 stages, 2 times: about 3 h 53 min left "
        "(hidden 3,000 steps in 1 h 40 min; logits 1,000 steps in 33 min)"
    )
    assert plan.first(1020) == ""
    plan.begin("logits", 0)
    now[0] += 50.0
    assert plan.left(100) == "about 41 min left"
    last = outlook.Outlook({"finetune": 10})
    last.begin("finetune", 0)
    assert last.left(10) == "" and last.first(10) == "10 steps: done"
