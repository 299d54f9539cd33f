"""A training on several devices is the one on a single device, and its batches are spread over them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from freediv.conversion.cards.card import read_card
from freediv.conversion.texts.batches import plan_batches
from freediv.model import write_model
from safetensors.numpy import load_file
from tiny import PUBLISHED

from .conftest import Task, make_sentences, make_tokenizer, write_tsv

# Commands in one process, as a user gives them; it says of every shape of logits that a step makes what one device has,
# and dies at a step of the last command where one is named.
PROGRAM = """
import os, shlex, signal, sys
import jax
import freediv.conversion.run_directory as run_directory
import freediv.conversion.training.losses as losses
import freediv.conversion.finetuning as finetuning
from freediv.cli import main
from freediv.progress import Meter

dies_at, commands = int(sys.argv[1]), sys.argv[2:]
run_directory.SECONDS_BETWEEN_CHECKPOINTS = 0

def watched(function, last):
    def run(*arguments, **options):
        found = function(*arguments, **options)
        seen = last(found)
        tell = lambda sharding: print("rows", len(seen), "of which", sharding.shard_shape(seen.shape)[0], flush=True)
        jax.debug.inspect_array_sharding(seen, callback=tell)
        return found
    return run

finetuning.forward = watched(finetuning.forward, lambda logits: logits)
losses.hidden_states = watched(losses.hidden_states, lambda found: found[0][-1])
update = Meter.update

def dying(self, done, note=""):
    update(self, done, note)
    if dies_at and self._task == "hidden" and done >= dies_at:
        os.kill(os.getpid(), signal.SIGKILL)

Meter.update = dying
for command in commands:
    sys.argv = ["freediv", *shlex.split(command)]
    try:
        main()
    except SystemExit as end:
        assert not end.code, command
"""
RECIPE = """\
name: all-stages
functions: {attention: 2quad-freediv, activation: quad, attention_norm: layernorm-constant}
positions: 32
data: {hold_out: 0.1, longest: 32, tokens_per_batch: 99, shapes: 1, long_share: 0}
calibration_rows: 32
progressive: {epochs: 1, learning_rate: 1.0e-4}
hidden: {epochs: 2, patience: 2, learning_rate: 1.0e-4, accumulate: 2}
norms: {epochs: 1, learning_rate: 1.0e-4}
logits: {epochs: 1, learning_rate: 1.0e-4, noise: 0.1}
weights: float16
"""


class Run:
    """One process, on so many devices of its CPU."""

    def __init__(self, directory: Path, devices: int, *commands: str, dies_at: int = 0) -> None:
        flags = f"--xla_force_host_platform_device_count={devices}"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(dies_at), *commands], cwd=directory, capture_output=True, text=True,
            timeout=600, check=False, env={**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_COMPILATION_CACHE": "false"},
        )  # fmt: skip
        self.status, self.error = done.returncode, done.stderr
        self._seen = done.stdout

    def shares_of(self, rows: int) -> set[int]:
        """What one device had of a step's logits or hidden states of so many rows."""
        return {int(share) for share in re.findall(rf"rows {rows} of which (\d+)", self._seen)}


@pytest.fixture(scope="module")
def directory(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained model of two layers, sentences of one length, and a recipe with every stage."""
    found = tmp_path_factory.mktemp("devices")
    sizes = {"vocabulary": make_tokenizer().get_vocab_size(), "heads": 2, "intermediate": 16, "positions": 48}
    write_model(tiny.model(layers=2, scale=0.2, **sizes, **PUBLISHED), found / "pretrained", tokenizer=task.pretrained)
    texts, labels = make_sentences(90, seed=3)
    write_tsv(found / "train.tsv", [" ".join((text.split() * 8)[:8]) for text in texts], labels)
    (found / "recipe.yaml").write_text(RECIPE)
    return found


def commands(out: str) -> tuple[str, str]:
    """Of a teacher and a student; a batch of 9 rows is filled up for two devices, and for four."""
    return (
        f"finetune pretrained --data train.tsv --epochs 2 --dropout 0 --tokens-per-batch 99 --hold-out 0.1 -o {out}-t",
        f"convert {out}-t --recipe recipe.yaml --data train.tsv -o {out}-s --allow-overflow",
    )


@pytest.fixture(scope="module")
def alone(directory: Path) -> Run:
    return Run(directory, 1, *commands("1"))


def require_alike(directory: Path, one: str, other: str) -> None:
    for model in ("t", "s"):
        first, second = (load_file(directory / f"{out}-{model}" / "model.safetensors") for out in (one, other))
        for name, weight in first.items():
            np.testing.assert_allclose(
                second[name].astype(np.float32), weight.astype(np.float32), atol=2e-3, err_msg=name
            )
        cards = [(directory / f"{out}-{model}" / "README.md").read_text() for out in (one, other)]
        losses = [
            [float(number) for row in re.findall(r"^\| [\w-]+ \| \d+ of \d+ \| ([\d., ]+) \|", card, re.MULTILINE)
             for number in row.split(", ")] for card in cards
        ]  # fmt: skip
        assert len(losses[0]) == (2 if model == "t" else 5)
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


def test_four_devices_train_what_one_does_on_batches_that_are_spread_over_them(directory: Path, alone: Run) -> None:
    several = Run(directory, 4, *commands("4"))
    assert (alone.status, several.status) == (0, 0), alone.error + several.error
    assert several.shares_of(12) == {3}
    require_alike(directory, "1", "4")
    assert read_card(directory / "4-s")["device"].startswith("4 devices: ")


def test_a_checkpoint_of_two_devices_goes_on_on_one(directory: Path, alone: Run) -> None:
    finetune, convert = commands("cut")
    cut = Run(directory, 2, finetune, convert, dies_at=10)
    assert (alone.status, cut.status) == (0, -signal.SIGKILL), alone.error + cut.error
    assert cut.shares_of(10) == {5}
    assert list(directory.glob("cut-s.run/*/hidden.checkpoint.safetensors"))
    rest = Run(directory, 1, convert)
    assert rest.status == 0, rest.error
    require_alike(directory, "1", "cut")


def test_rows_that_only_fill_a_batch_count_for_nothing() -> None:
    rows = [np.full(4, number) for number in range(3)]
    batch = plan_batches([4] * 3, tokens_per_batch=12).batch(0, rows, np.arange(3), 0)
    filled = batch.filled(2)
    assert filled.read[:, 0].tolist() == [0, 1, 2, 0, 0] and filled.weight.tolist() == [1, 1, 1, 0, 0]
    assert filled.targets.tolist() == [0, 1, 2, 0, 0] and filled.mask.shape == (5, 4)
    assert filled.tokens == batch.tokens == 12
