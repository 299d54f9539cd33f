"""`freediv up` that is ended before its parties are connected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from freediv.deploy.demonstration import free_topology
from freediv.deploy.local import LocalDeployment
from freediv.deploy.render import render


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_the_parties_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    render(free_topology(), tmp_path)
    deployment = LocalDeployment(tmp_path)
    command = [sys.executable, "-m", "freediv", "up", "--local", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while not all(party.process() for party in deployment.parties) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(running.pid, number)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err.strip()) == (1, "", "Aborted!")
    assert deployment.strays() == []
    assert not any(party.pid_file.exists() for party in deployment.parties)
