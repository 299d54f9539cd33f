"""The edge of every command: one line whatever happens, and a good place for results before any work."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

RAISE = """
import click, sys
from freediv.cli import boundary
@click.command()
def command():
    {body}
boundary.run(command)
"""


def freediv(
    *arguments: object,
    environment: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    before: Callable[[], None] | None = None,
    program: list[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(program or ["-m", "freediv"]), *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | (environment or {}), stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
        preexec_fn=before, encoding="utf-8", errors="replace",
    )  # fmt: skip


def run(body: str, **changes: object) -> subprocess.CompletedProcess[str]:
    return freediv(program=["-c", RAISE.format(body=body)], **changes)  # type: ignore[arg-type]


def test_what_nobody_foresaw_is_one_line_with_a_way_to_see_more() -> None:
    done = run("{}['no such']")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert done.stderr.startswith("error: KeyError: 'no such'")
    assert "FREEDIV_TRACEBACK=1" in done.stderr
    shown = run("{}['no such']", environment={"FREEDIV_TRACEBACK": "1"})
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr
    assert shown.stderr.splitlines()[-1] == done.stderr.strip()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("open('gone/file')", "gone/file: no such file or directory"),
        ("raise OSError(28, 'No space left on device')", "no space left on device"),
        ("bytearray(1 << 62)", "there is not enough memory for this"),
        ("from freediv.errors import UserError; raise UserError('one\\nline \\x1b[31m')", r"one line \x1b[31m"),
    ],
    ids=["a file", "the disk", "memory", "ours"],
)
def test_what_a_user_can_mend_is_one_line_without_escapes(body: str, said: str) -> None:
    done = run(body)
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_device_that_is_not_there_is_named(platform: str) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a device")
    done = run("import jax.numpy; jax.numpy.zeros(1)", environment={"JAX_PLATFORMS": platform})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: JAX_PLATFORMS={platform}: JAX finds no such device")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("to", ["full", "closed"])
def test_an_output_that_cannot_be_printed_is_found_before_the_work(tmp_path: Path, to: str) -> None:
    marker = tmp_path / "worked"
    with Path("/dev/full").open("w") as full:
        done = run(
            f"open({str(marker)!r}, 'w')",
            stdout=full.fileno(),
            before=(lambda: os.close(1)) if to == "closed" else None,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: cannot be written")
    assert not marker.exists()


def test_a_character_that_the_terminal_lacks_is_replaced() -> None:
    body = "from freediv.terminal import console; click.echo('\\u2603 \\udcff'); console().print('\\u2603')"
    done = run(body, environment={"PYTHONIOENCODING": "iso8859-1", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stdout) == (0, "\\u2603 \\udcff\n\\u2603\n")


def test_too_few_open_files_are_named_as_such() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    few = freediv("status", "x", before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)))
    assert few.returncode == 2
    assert "only 20 files may be open" in few.stderr
    body = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    raised = run(body, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit)))
    assert int(raised.stdout) == min(limit, 4096)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_ends_a_command_through_what_it_has_to_put_away(number: signal.Signals) -> None:
    body = """
    import time
    try:
        print('begun', flush=True)
        time.sleep(30)
    finally:
        print('put away', flush=True)
"""
    command = [sys.executable, "-c", RAISE.format(body=body.strip().replace("\n    ", "\n    "))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "begun\n"
        began = time.monotonic()
        running.send_signal(number)
        out, err = running.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert out == "put away\n"
    assert running.returncode == 1
    assert err.strip() == "Aborted!"


def test_a_signal_that_a_librarys_callback_swallows_comes_again() -> None:
    body = """
    import gc, os, signal, time
    once = []
    def callback(*_):
        if not once:
            once.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(20)
"""
    began = time.monotonic()
    done = run(body.strip())
    assert (done.returncode, done.stderr.strip()) == (1, "Aborted!")
    assert time.monotonic() - began < 15


def test_an_error_that_cannot_be_told_has_its_exit_status() -> None:
    done = run("from freediv.errors import UserError; raise UserError('x')", before=_full_errors)
    assert done.returncode == 2


def _full_errors() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    body = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('on')"
    done = run(body, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN) and None)
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_a_party_logs_where_a_fault_arose_and_tells_it_in_its_last_line(tmp_path: Path) -> None:
    from freediv.deploy.demonstration import free_topology
    from freediv.deploy.local import last_line
    from freediv.deploy.render import render

    render(free_topology(), tmp_path)
    program = """
import sys
from freediv.cli import boundary, group
from freediv.party import server
async def run_party(*arguments, **options): {}['no such']
server.run_party = run_party
boundary.run(group)
"""
    done = freediv("party", "--config", tmp_path / "party-1" / "config.yaml", program=["-c", program])
    assert done.returncode == 1
    assert "ERROR party 1 ends\nTraceback" in done.stderr
    (tmp_path / "party.log").write_text(done.stderr)
    assert last_line(tmp_path / "party.log").startswith("KeyError: 'no such' (freediv did not foresee this")
