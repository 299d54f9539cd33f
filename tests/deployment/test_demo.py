"""`freediv demo`: everything at once, and nothing left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from freediv.demonstration import read_sentences
from freediv.local import DEPLOYMENT


def start(model: Path, scratch: Path, *arguments: str) -> subprocess.Popen[str]:
    scratch.mkdir()
    command = [
        sys.executable,
        "-m",
        "freediv",
        "demo",
        "--model",
        str(model),
        *arguments,
    ]
    return subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(scratch)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def started_from(scratch: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(DEPLOYMENT, "").startswith(str(scratch))
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_demo_shows_predictions_and_costs_and_leaves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    scratch, page = tmp_path / "scratch", tmp_path / "page.html"
    running = start(tiny_model, scratch, "--json", "--report", str(page))
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    found = json.loads(out)
    sentences, _ = read_sentences()
    assert len(sentences) >= 8
    assert [entry["text"] for entry in found["predictions"]] == list(sentences)
    assert {entry["label"] for entry in found["predictions"]} <= {"negative", "positive"}
    assert [party["rank"] for party in found["cost"]["requests"][0]["parties"]] == [0, 1, 2]
    assert str(page) in err
    assert "peak memory: party 0" in err
    assert "<html" in page.read_text()
    assert started_from(scratch) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_demo_that_is_interrupted_leaves_nothing_running(
    tiny_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    scratch = tmp_path / "scratch"
    running = start(tiny_model, scratch)
    deadline = time.monotonic() + 120
    while len(started_from(scratch)) < 3:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    running.send_signal(number)
    _, err = running.communicate(timeout=120)
    assert running.returncode != 0
    assert "Traceback" not in err
    while started_from(scratch):  # a party whose starter was killed notices by itself
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert number == signal.SIGKILL or list(scratch.iterdir()) == []


def test_a_demo_of_no_model_is_one_clear_line(tmp_path: Path) -> None:
    running = start(tmp_path / "gone", tmp_path / "scratch")
    _, err = running.communicate(timeout=120)
    assert running.returncode == 2
    assert [line for line in err.splitlines() if line.strip()] == [err.strip()]
    assert err.startswith("error: ")
    assert started_from(tmp_path / "scratch") == []
