"""A run that is killed goes on where its last checkpoint was, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.run_directory import RunDirectory
from freediv.errors import UserError
from safetensors.numpy import load_file

from .conftest import Task, make_sentences, write_tsv

# The command's own process, which dies at a given step as a power cut would end it.
PROGRAM = """
import os, signal, sys
import freediv.conversion.run_directory as run_directory
from freediv.cli import main
from freediv.progress import Meter

task, step, sys.argv[:] = sys.argv[1], int(sys.argv[2]), ["freediv", *sys.argv[3:]]
run_directory.SECONDS_BETWEEN_CHECKPOINTS = 0
update = Meter.update

def dying(self, done, note=""):
    update(self, done, note)
    if step and self._task == task and done >= step:
        os.kill(os.getpid(), signal.SIGKILL)

Meter.update = dying
main()
"""


def run(cache: Path, task: str, dies_at: int, *arguments: str) -> int:
    """Its exit status; what it compiles is kept in `cache`, as users have it kept who train often."""
    command = [sys.executable, "-c", PROGRAM, task, str(dies_at), *arguments]
    # One core and thread, so that sums are taken in the same order and runs can be compared.
    command = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), *command]
    kept = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    environment = {**os.environ, **kept, "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    return subprocess.run(command, capture_output=True, timeout=300, check=False, env=environment).returncode


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    # Half precision on disk rounds to the other side where sums differ in their last bit; a lost step differs by more.
    return a.keys() == b.keys() and max(float(np.abs(a[name] * 1.0 - b[name]).max()) for name in a) < 1e-3


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of one length, so that a process compiles one shape and a test takes seconds."""
    texts, labels = make_sentences(240, seed=3)
    even = [" ".join((text.split() * 8)[:8]) for text in texts]
    return write_tsv(tmp_path_factory.mktemp("even") / "train.tsv", even, labels)


def test_a_killed_finetune_ends_with_the_parameters_of_one_that_was_not(
    task: Task, train: Path, tmp_path: Path
) -> None:
    def finetune(out: str, dies_at: int = 0) -> int:
        arguments = ["--data", str(train), "--epochs", "2", "--tokens-per-batch", "128", "--longest", "32"]
        command = ["finetune", str(task.pretrained), *arguments, "-o", str(tmp_path / out)]
        return run(tmp_path / "cache", "finetune", dies_at, *command)

    assert finetune("whole") == 0
    assert finetune("killed", dies_at=25) == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    assert (tmp_path / "killed.run" / "seed-0" / "finetune.checkpoint.safetensors").exists()
    assert finetune("killed", dies_at=0) == 0
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed.run").exists()


class Converting:
    """Conversions of one teacher by one recipe, the task's with other epochs: each ends, or dies at a step."""

    def __init__(self, task: Task, train: Path, teacher: Path, path: Path, epochs: int, more: str = "") -> None:
        self.path, recipe = path, path / "recipe.yaml"
        shorter = task.recipe.read_text().replace("epochs: 4", f"epochs: {epochs}")
        recipe.write_text(shorter.replace("shapes: 2", "shapes: 1, long_share: 0") + more)
        self._command = ["convert", str(teacher), "--recipe", str(recipe), "--data", str(train)]

    def __call__(self, out: str, stage: str = "", dies_at: int = 0) -> int:
        return run(self.path / "cache", stage, dies_at, *self._command, "-o", str(self.path / out))


def test_a_conversion_killed_in_its_second_stage_ends_with_the_same_student(
    task: Task, train: Path, teacher: Path, tmp_path: Path
) -> None:
    convert = Converting(task, train, teacher, tmp_path, epochs=2)
    assert convert("whole") == 0
    assert convert("killed", "logits", 25) == -signal.SIGKILL
    assert convert("killed") == 0
    assert same_weights(tmp_path / "whole", tmp_path / "killed")


def test_a_conversion_killed_as_its_blocks_are_fitted_goes_on_with_the_next(
    task: Task, train: Path, teacher: Path, tmp_path: Path
) -> None:
    convert = Converting(task, train, teacher, tmp_path, epochs=0, more="\nrefit: {pieces: 2000, trained: 4000}\n")
    assert convert("whole") == 0
    assert convert("killed", "refit", 3) == -signal.SIGKILL
    kept = tmp_path / "killed.run" / "seed-0" / "refit.safetensors"
    before = load_file(kept)
    assert convert("killed", "refit", 4) == -signal.SIGKILL
    changed = {name for name, value in load_file(kept).items() if not np.array_equal(value, before[name])}
    assert changed and all("encoder.1.attention" in name for name in changed)
    assert convert("killed") == 0
    assert same_weights(tmp_path / "whole", tmp_path / "killed")


def test_a_conversion_killed_as_its_training_starts_is_not_fitted_again(
    task: Task, train: Path, teacher: Path, tmp_path: Path
) -> None:
    convert = Converting(task, train, teacher, tmp_path, epochs=1, more="\nrefit: {pieces: 2000}\n")
    assert convert("student", "hidden", 1) == -signal.SIGKILL
    fitted = load_file(tmp_path / "student.run" / "seed-0" / "calibrated.safetensors")
    assert any(name.endswith("['constants.c']") for name in fitted)
    assert convert("student", "calibrate", 1) == 0  # where it would die if it came there
    assert (tmp_path / "student" / "model.safetensors").exists()


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path: Path) -> None:
    tree = {"scalar": np.float32(0.125), "transposed": np.arange(6.0).reshape(2, 3).T, "counts": np.arange(3)}
    with RunDirectory(tmp_path / "run", {}) as directory:
        directory.save("stage", tree, {"step": 3})
        found = directory.load("stage", tree)
    assert found is not None and found[1] == {"step": 3}
    for name, value in tree.items():
        assert found[0][name].shape == np.shape(value) and found[0][name].dtype == value.dtype
        assert np.array_equal(found[0][name], value)


def test_a_run_directory_of_another_run_is_refused(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", {"data": "a", "seed": 0}):
        pass
    with pytest.raises(UserError, match="holds a run that differs in seed"):
        RunDirectory(tmp_path / "run", {"data": "a", "seed": 1})


def test_two_processes_cannot_train_in_one_directory(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", {}), pytest.raises(UserError, match="another process is training here"):
        RunDirectory(tmp_path / "run", {})


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run", {}) as directory:
        directory.save("stage", {"a": np.ones(3)}, {})
        file = tmp_path / "run" / "stage.safetensors"
        file.write_bytes(file.read_bytes()[:-4])
        with pytest.raises(UserError, match=r"stage\.safetensors cannot be read"):
            directory.load("stage", {"a": np.ones(3)})
