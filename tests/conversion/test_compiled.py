"""What JAX compiled in one process, the next one takes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from freediv.conversion import compiled
from freediv.conversion.compiled import keep_compiled
from freediv.files import remove_oldest

from .conftest import Task

# The command as a user gives it, and how often JAX found a program in its cache, or did not.
PROGRAM = """
import collections, json, sys
import jax
from freediv.cli import main

counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rpartition("/")[2]]))
sys.argv[0] = "freediv"
try:
    main()
finally:
    print(json.dumps(counts))
"""


def run(place: str, *arguments: object) -> tuple[int, dict[str, int]]:
    """Exit status and counts of a process that knows no cache but this one, and keeps whatever it compiles there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False,
        env={**environment, "FREEDIV_CACHE": place, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_a_second_training_compiles_nothing(task: Task, tmp_path: Path) -> None:
    finetune = ("finetune", task.pretrained, "--data", task.train, "--epochs", 1, "--longest", 32)
    status, counts = run(str(tmp_path / "cache"), *finetune, "-o", tmp_path / "one")
    assert status == 0 and counts["cache_misses"] > 5
    [directory] = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = {path: path.stat().st_mtime_ns for path in directory.glob("*-cache")}
    assert len(files) == counts["cache_misses"]
    status, counts = run(str(tmp_path / "cache"), *finetune, "-o", tmp_path / "other")
    assert status == 0 and "cache_misses" not in counts and counts["cache_hits"] > 5
    assert {path: path.stat().st_mtime_ns for path in directory.glob("*-cache")} == files


def test_where_nothing_can_be_kept_all_goes_on(task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, counts = run(str(tmp_path / "file"), "predict", task.pretrained, "--text", "a warm film")
    assert status == 0 and not {"cache_misses", "cache_hits"} & set(counts)


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache directory of its own; JAX's setting is as it was afterwards."""
    monkeypatch.setenv("FREEDIV_CACHE", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(compiled.warnings, "filterwarnings", lambda *_: None)
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def test_every_kind_of_processor_has_its_own_and_the_users_choice_counts(
    setting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_compiled()  # tests have JAX_COMPILATION_CACHE_DIR set
    assert not list(setting.iterdir())
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    keep_compiled()
    [own] = setting.iterdir()
    assert jax.config.jax_compilation_cache_dir == str(own)
    monkeypatch.setattr(compiled.platform, "machine", lambda: "another")
    keep_compiled()
    assert len(list(setting.iterdir())) == 2 and jax.config.jax_compilation_cache_dir != str(own)


def test_the_files_that_were_written_first_go(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, ns=(number, number))
    remove_oldest(tmp_path, 25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d"]
    remove_oldest(tmp_path / "missing", 25)
