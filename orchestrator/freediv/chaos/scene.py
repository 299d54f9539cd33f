"""A deployment on this machine as faults find it: its processes by rank, its shares, and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil

from ..deploy.local import LocalDeployment
from ..errors import UserError
from ..wire.status import PartyStatus, ask_parties
from . import background

T = TypeVar("T")
_BETWEEN_S = 0.1
_TIDY_S = 60.0
_LINKED_S = 300.0


class Scene:
    """All parties of a rendered directory.

    Whatever is signalled is a party's own process or its worker, told by its start time: never another process that
    got its number.

    Args:
        directory: as `freediv up --local` takes it.
        lifeline: standard input of parties that are started, as in `LocalDeployment.start`.
    """

    def __init__(self, directory: Path, lifeline: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.local = LocalDeployment(directory)
        self.size = len(self.local.parties)
        self._lifeline = lifeline

    def states(self) -> list[PartyStatus]:
        """What every party is at."""
        return background.run(ask_parties(self.local.parties[0].config))

    def party(self, rank: int) -> psutil.Process:
        """A party's process.

        Raises:
            UserError: it does not run here.
        """
        process = self.local.parties[rank].process()
        if process is None:
            raise UserError(f"party {rank} does not run on this machine; start it with `freediv up --local`")
        return process

    def worker(self, rank: int) -> psutil.Process:
        """The process that holds a party's SPU runtime, waited for if it is being replaced.

        Raises:
            UserError: there is none.
        """

        def find() -> psutil.Process | None:
            pid = self.states()[rank].worker_pid
            children = self.party(rank).children() if pid > 0 else []
            return next((child for child in children if child.pid == pid), None)

        return wait_for(find, _TIDY_S, f"party {rank} has a worker")

    def link_end(self, rank: int) -> psutil.Process | None:
        """The process in which a party's link reaches a network: its gateway's; None for parties on one machine."""
        return self.local.parties[rank].gateway()

    def processes(self, rank: int) -> list[psutil.Process]:
        """A party's process and its worker."""
        return [self.party(rank), self.worker(rank)]

    def start(self, ranks: Sequence[int]) -> None:
        """Start parties that were stopped or killed, as their operator would."""
        self.local.start(ranks, lifeline=self._lifeline)

    def set_right(self) -> None:
        """Whatever was done to the processes: let all go on, and start those that are gone."""
        for process in self.local.strays():
            with suppress(psutil.Error):
                process.rlimit(psutil.RLIMIT_FSIZE, _no_limit(process))
                process.resume()
        self.start(range(self.size))

    @contextmanager
    def stopped(self, rank: int) -> Iterator[None]:
        """A party that is there and does nothing, as when its host is paused."""
        processes = self.processes(rank)
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    @contextmanager
    def deviating(self, rank: int) -> Iterator[None]:
        """In the place of a party one that deviates (`deviating_party`), until the context is closed.

        It holds a pipe of this process, and ends with it, whatever this process ends by.
        """
        theirs, lifeline = os.pipe()
        try:
            self._replace(rank, lifeline=theirs, program="freediv.chaos.deviating_party")
            yield
        finally:
            os.close(lifeline)
            os.close(theirs)
            self._replace(rank, lifeline=self._lifeline)

    def _replace(self, rank: int, **start: Any) -> None:
        """Stop a party, and start it in another way; done when all are linked again."""
        party = self.local.parties[rank]
        if (process := party.process()) is not None:
            process.terminate()
            wait_for(lambda: party.process() is None, _TIDY_S, f"party {rank} ends")
        self.local.start([rank], **start)
        self.local.wait_until_linked(_LINKED_S)

    @contextmanager
    def unable_to_write(self, rank: int, most_bytes: int) -> Iterator[None]:
        """A party whose files cannot grow beyond so many bytes, as on a disk with so little left.

        This is the kernel's limit for one process (RLIMIT_FSIZE): nothing else on this machine is short of space.
        """
        process = self.party(rank)
        process.rlimit(psutil.RLIMIT_FSIZE, (most_bytes, _no_limit(process)[1]))
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                process.rlimit(psutil.RLIMIT_FSIZE, _no_limit(process))

    def store(self, rank: int) -> Path:
        """Where a party keeps its shares."""
        return self.local.parties[rank].config.store_directory

    def share_file(self, rank: int) -> Path:
        """One stored share of the model in use."""
        model_id = self.states()[rank].model_id
        files = sorted((self.store(rank) / model_id).glob("*.share")) if model_id else []
        if not files:
            raise UserError(f"party {rank} holds no shares of a model; load one with `freediv load`")
        return files[0]

    def left_behind(self, patience_s: float = _TIDY_S) -> tuple[str, ...]:
        """What does not go away by itself: processes, temporary files, half-written shares, requests still held."""
        deadline = time.monotonic() + patience_s
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(_BETWEEN_S)
        return tuple(left)

    def _left(self) -> list[str]:
        states = self.states()
        wanted = {state.worker_pid for state in states}
        ends = [process for party in self.local.parties for process in (party.process(), party.gateway())]
        wanted |= {process.pid for process in ends if process is not None}
        left = [f"process {process.pid}" for process in self.local.strays() if process.pid not in wanted]
        left += [f"{s.waiting_requests} requests at party {s.rank}" for s in states if s.waiting_requests]
        for rank in range(self.size):
            # One that was cut is kept for a while, and then goes away by itself.
            patience_s = self.local.parties[rank].config.limits.unfinished_s
            uploads = self.store(rank).glob("incoming-*")
            overdue = (path for path in uploads if time.time() - path.stat().st_mtime > patience_s)
            left += map(str, [*overdue, *self.store(rank).rglob(".*")])
        return left


def wait_for(found: Callable[[], T | None], timeout_s: float, what: str) -> T:
    """What a look finds, once it finds something.

    Raises:
        UserError: it does not in time.
    """
    deadline = time.monotonic() + timeout_s
    while (value := found()) is None or value is False:
        if time.monotonic() > deadline:
            raise UserError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(_BETWEEN_S)
    return value


def _no_limit(process: psutil.Process) -> tuple[int, int]:
    """The largest soft limit that a process may have, and its hard one."""
    hard = process.rlimit(psutil.RLIMIT_FSIZE)[1]
    return hard, hard
