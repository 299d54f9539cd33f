"""`freediv demo`: everything at once, and nothing left of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from freediv.deploy.demonstration import read_sentences
from freediv.deploy.local import DEPLOYMENT

from .conftest import assert_one_line_error, run_command

REPOSITORY = Path(__file__).resolve().parents[2]


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


def interrupt_with_all_parties(
    running: subprocess.Popen[str], scratch: Path, number: signal.Signals, deadline: float
) -> None:
    """Send a signal to a demo as soon as its three parties are there."""
    while len(started_from(scratch)) < 3:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    running.send_signal(number)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name
)
def test_a_demo_that_is_interrupted_leaves_nothing_running(
    tiny_model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    scratch = tmp_path / "scratch"
    running = start(tiny_model, scratch, "--report", str(tmp_path / "page.html"))  # a killed one's page is not removed
    deadline = time.monotonic() + 120
    interrupt_with_all_parties(running, scratch, number, deadline)
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


# --- which goes on: --serve ---


def front_page() -> tuple[list[str], list[str]]:
    """The front page's command that serves, and its curl."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^(freediv demo --serve)\b.*\n(curl .*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert found, "the front page shows no curl beside what answers it"
    return shlex.split(found[1]), shlex.split(found[2])


def test_what_the_front_page_asks_is_answered_until_ctrl_c(tiny_model: Path, tmp_path: Path) -> None:
    scratch, page = tmp_path / "scratch", tmp_path / "page.html"
    (_, _, *options), curl = front_page()
    running = start(tiny_model, scratch, *options, "--port", "0", "--report", str(page))
    assert running.stdout is not None
    printed = []
    for line in running.stdout:
        printed.append(line)
        if " answers until Ctrl-C" in line:
            break
    address = printed[-1].split()[0]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    assert "<html" in page.read_text()
    assert any(line.startswith("10 sentences in") for line in printed)
    asked = [word.replace("127.0.0.1:8080", address) for word in curl]
    done = subprocess.run(
        [*asked, "--silent", "--fail-with-body"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    [label] = json.loads(done.stdout)
    assert label["label"] in ("negative", "positive") and label["score"] is None
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert (running.returncode, out, err) == (0, "", "")
    assert started_from(scratch) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_demo_that_is_to_serve_ends_before_it_does(tiny_model: Path, tmp_path: Path, number: signal.Signals) -> None:
    scratch = tmp_path / "scratch"
    running = start(tiny_model, scratch, "--serve", "--port", "0", "--report", str(tmp_path / "page.html"))
    interrupt_with_all_parties(running, scratch, number, time.monotonic() + 120)
    out, err = running.communicate(timeout=120)
    assert running.returncode != 0
    assert "Traceback" not in err and " answers until" not in out
    assert started_from(scratch) == []
    assert list(scratch.iterdir()) == []


def test_a_port_that_is_taken_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_command("demo", "--serve", "--port", str(port), "--report", tmp_path / "page.html")
    assert_one_line_error(done, f"cannot listen on 127.0.0.1:{port} (address already in use)", "--port 0")
    assert list(tmp_path.iterdir()) == []
    assert_one_line_error(run_command("demo", "--port", "8081", "--report", tmp_path / "page.html"), "--serve", "8081")
