"""The parties of a rendered directory as processes on this machine, detached from whoever started them.

Beside its configuration each party's folder then holds `party.log` and `party.pid`, and `gateway` where it runs one.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from ..cluster.configuration import PartyConfig, read_party_config
from ..cluster.ports import check_ports
from ..errors import UserError
from ..files import replace_file
from ..wire.status import PartyStatus, party_states
from .local_gateway import find_haproxy

DEPLOYMENT = "FREEDIV_DEPLOYMENT"
"""Environment variable, in every process started here and in its children: the directory that it belongs to."""
_TERMINATE_S = 15.0


@dataclass(frozen=True)
class LocalParty:
    """One party on this machine."""

    folder: Path
    config: PartyConfig

    @property
    def rank(self) -> int:
        """Its rank."""
        return self.config.rank

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / "party.log"

    @property
    def pid_file(self) -> Path:
        """Its process id and start time."""
        return self.folder / "party.pid"

    def process(self) -> psutil.Process | None:
        """Its process, if it runs; another process that got its number is not it."""
        try:
            recorded = json.loads(self.pid_file.read_text(encoding="utf-8"))
            process = psutil.Process(recorded["pid"])
            same = process.is_running() and _started(process.pid) == recorded["started"]
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, KeyError, TypeError, IndexError, psutil.Error):
            return None

    def gateway(self) -> psutil.Process | None:
        """Its gateway's process, if it has one that runs."""
        process = self.process()
        children = process.children() if process is not None and self.config.gateway else []
        return next((child for child in children if child.name() == "haproxy"), None)


class LocalDeployment:
    """All parties of a rendered directory."""

    def __init__(self, directory: Path) -> None:
        """Read the directory.

        Raises:
            UserError: it is not a rendered one.
        """
        self.directory = directory.resolve()
        folders = sorted(self.directory.glob("party-[0-9]"))
        if not folders:
            raise UserError(
                f"{directory}: holds no party's folder; make one with `freediv render TOPOLOGY -o {directory}`"
            )
        self.parties = [LocalParty(folder, read_party_config(folder)) for folder in folders]
        self._children: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        ranks: Sequence[int] | None = None,
        *,
        lifeline: IO[bytes] | int = subprocess.DEVNULL,
        program: str = "freediv",
    ) -> None:
        """Start the parties that do not run yet.

        Args:
            ranks: which; all by default.
            lifeline: a pipe that the parties hold as standard input; they stop when its other end is closed.
            program: what Python runs, with the command line of `freediv party`.

        Raises:
            UserError: a port is in use, or there is no program for a gateway; names the party. Nothing is started then.
        """
        chosen = [p for p in self.parties if (ranks is None or p.rank in ranks) and p.process() is None]
        for party in chosen:
            if party.config.gateway:
                find_haproxy(party.config)
        self._free_ports(chosen)
        for party in chosen:
            self._spawn(party, lifeline, program)

    def wait_until_linked(
        self, timeout_s: float, on_states: Callable[[list[PartyStatus]], None] = lambda states: None
    ) -> None:
        """Wait until the parties are connected.

        Raises:
            UserError: a party ended, or the link is not up in time; says why.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            for party in self.parties:
                if party.process() is None:
                    raise UserError(f"party {party.rank} ended: {last_line(party.log)} (see {party.log})")
            states = self.states()
            on_states(states)
            if all(state.link_up for state in states) and len({state.epoch for state in states}) == 1:
                return
            if time.monotonic() > deadline:
                reasons = (
                    "; ".join(dict.fromkeys(state.problem for state in states if state.problem)) or "no reason known"
                )
                raise UserError(f"the parties are not connected after {timeout_s:g} s: {reasons}")
            time.sleep(0.2)

    def states(self) -> list[PartyStatus]:
        """What every party is at."""
        return party_states(self.parties[0].config)

    def stop(self) -> int:
        """Stop all parties and whatever else was started from this directory; returns how many processes there were."""
        processes = [process for party in self.parties if (process := party.process()) is not None]
        for process in processes:
            _signal(process, psutil.Process.terminate)
        psutil.wait_procs(processes, timeout=_TERMINATE_S)
        left = self.strays()
        _kill(left)
        for child in self._children:
            child.wait(_TERMINATE_S)
        self._children = []
        for party in self.parties:
            party.pid_file.unlink(missing_ok=True)
        return len({process.pid for process in (*processes, *left)})

    def strays(self) -> list[psutil.Process]:
        """All processes that were started from this directory, and their children."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(DEPLOYMENT) == str(self.directory) and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _free_ports(self, parties: Sequence[LocalParty]) -> None:
        """Make sure of the parties' ports: a killed party's worker may hold them, and take a moment to end."""
        folders = {party.folder for party in parties}
        deadline = time.monotonic() + _TERMINATE_S
        while True:
            left = [process for process in self.strays() if _folder(process) in folders]
            _kill(left)
            try:
                for party in parties:
                    check_ports(party.config)
                return
            except UserError:
                ended = [party for party in parties if party.pid_file.exists()]
                if not ended or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _spawn(self, party: LocalParty, lifeline: IO[bytes] | int, program: str) -> None:
        command = [sys.executable, "-m", program, "party", "--config", str(party.folder / "config.yaml")]
        if party.config.gateway:
            command.append("--gateway")
        if lifeline != subprocess.DEVNULL:
            command.append("--until-stdin-closes")
        with party.log.open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=lifeline,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=party.folder,
                env=os.environ | {DEPLOYMENT: str(self.directory)},
                start_new_session=True,
            )
        self._children.append(child)
        replace_file(party.pid_file, json.dumps({"pid": child.pid, "started": _started(child.pid)}))


def last_line(path: Path) -> str:
    """The last line of a log that says something."""
    try:
        lines = [
            line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
    except OSError:
        lines = []
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"


def _started(pid: int) -> int:
    """When a process began, in ticks since the machine did (proc(5)): no setting of the clock moves that."""
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])


def _folder(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except psutil.Error:
        return None


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        _signal(process, psutil.Process.kill)
    psutil.wait_procs(processes, timeout=_TERMINATE_S)


def _signal(process: psutil.Process, how: Callable[[psutil.Process], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        how(process)
