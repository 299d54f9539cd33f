"""A party's hold on the child process in which its SPU runtime lives: starts it, commands it, and sees it die."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Pipe
from pathlib import Path

from ...errors import UserError
from ...model import Architecture
from ...model.answers import Output
from ...process import peak_memory_bytes
from ..link.failures import NotBegun, PeerLost, ProgramMismatch, WorkerFailed
from ..link.transport import ON_THIS_MACHINE, SECRET_BYTES, leave, lost_while_sending, without_name
from ..records import StageRecord
from ..sharing.shares import Share
from .commands import Command, Connect, Done, Failed, Load, Prepare, Progress, Run, RunResult, Use, WorkerConfig

__all__ = [
    "ON_THIS_MACHINE",
    "SECRET_BYTES",
    "NotBegun",
    "PeerLost",
    "ProgramMismatch",
    "RunResult",
    "Worker",
    "WorkerConfig",
    "WorkerFailed",
]

_START_S = 300.0
_LOG_TAIL = 20_000


class Worker:
    """One SPU runtime in a process of its own. What fails, fails for good: make another, with the next epoch.

    Commands block, one at a time, in any thread; `kill` may be called from another, and the command then raises
    `WorkerFailed`. Every command raises `WorkerFailed` when the process has ended, with its cause in one line;
    `PeerLost` when the cause is another party.
    """

    program = "freediv.mpc.worker.child"
    """What Python runs in that process."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._architecture: Architecture | None = None
        self._busy, self._ending = threading.Lock(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lifeline = self._console = self._spu_log = -1
        self._peak = 0

    def start(self) -> None:
        """Start the process; returns when it takes commands."""
        # What it and SPU say lies in memory alone: a full disk stops no request, and hides no reason.
        self._console, self._spu_log = os.memfd_create("console"), os.memfd_create("spu.log")
        self._connection, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        environment = os.environ | {
            "OMP_THREAD_LIMIT": str(self._config.threads),  # SPU's products ask for 4 each, and spin against each other
            "OMP_WAIT_POLICY": "passive",
            "MALLOC_ARENA_MAX": "2",  # SPU's many threads would each keep an arena's worth of freed memory
            "JAX_PLATFORMS": "cpu",
        }
        passed = (theirs.fileno(), lifeline, self._spu_log)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "freediv.mpc.worker.start", self.program, *map(str, passed)],
            pass_fds=passed,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
        )
        theirs.close()
        os.close(lifeline)
        with self._busy:
            self._connection.send(self._config)
            self._answer(None, _START_S)

    def connect(self) -> None:
        """Join the other parties.

        Raises:
            PeerLost: one does not appear; names it.
            ProgramMismatch: one runs another protocol, ring or version of SPU.
        """
        config = self._config
        self._command(Connect(), timeout_s=config.connect_timeout_s + 2 * config.recv_timeout_s)

    def load(
        self,
        architecture: Architecture,
        output: Output,
        weights: Path,
        model_id: str,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Take a model's weight shares from `weights`, a directory as `store` writes it.

        Args:
            architecture: the model's.
            output: whether requests are answered by a label or by logits.
            weights: where the shares lie.
            model_id: of this upload; parties that hold another's refuse to run.
            on_progress: called with the bytes done and all bytes.

        Raises:
            UserError: names a file that is missing or damaged.
        """

        self.load_beside(architecture, output, weights, model_id, math.inf, on_progress)
        self.use(architecture, model_id)

    def load_beside(
        self,
        architecture: Architecture,
        output: Output,
        weights: Path,
        model_id: str,
        seconds: float,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> bool:
        """Take weight shares beside the model in use, for so many seconds, or go on with it; whether all are there.

        Raises:
            UserError: names a file that is missing or damaged. The worker goes on with the model in use.
        """

        def event(progress: object) -> None:
            if on_progress is not None and isinstance(progress, Progress):
                on_progress(progress.done, progress.total)

        answer = self._command(Load(architecture, output, weights, model_id, seconds), event)
        if isinstance(answer, UserError):
            raise answer
        return bool(answer)

    def use(self, architecture: Architecture, model_id: str) -> None:
        """Switch to a model that `load_beside` has loaded, and forget the one before."""
        self._command(Use(model_id))
        self._architecture = architecture

    def prepare(self, batch: int, length: int) -> str:
        """Compile for one shape, ahead of its first request; SHA-256 of all programs, alike at all parties."""
        return str(self._command(Prepare(batch, length)))

    def run(
        self,
        request_id: str,
        batch: int,
        length: int,
        inputs: Mapping[str, Share | tuple[Share, ...]],
        on_stage: Callable[[StageRecord], None] | None = None,
        timeout_s: float | None = None,
    ) -> RunResult:
        """Answer a request, together with the other parties, who call this at the same time.

        Args:
            request_id: the same at all parties; a party with another refuses.
            batch: number of sentences.
            length: of each, in word pieces, padding included.
            inputs: this party's shares, by activation name, with the shapes of `model.input_shapes`; several
                shares of a name are of parts of the batch, one below the other.
            on_stage: called after each stage.
            timeout_s: for the whole; the worker is then killed.

        Raises:
            NotBegun: an input that does not fit, or whatever else went wrong, here or at another party, before the
                first stage; nothing was computed, and all workers go on.
            ProgramMismatch: the parties hold other models, programs or requests.
        """
        if self._architecture is None:
            raise ValueError("no model is loaded")
        given = {name: (own,) if isinstance(own, Share) else own for name, own in inputs.items()}

        def event(record: object) -> None:
            if on_stage is not None and isinstance(record, StageRecord):
                on_stage(record)

        result = self._command(Run(request_id, batch, length, given), event, timeout_s)
        if isinstance(result, NotBegun):
            raise result
        assert isinstance(result, RunResult)
        self._peak = max(self._peak, result.cost.peak_memory_bytes)
        return result

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return None if self._process is None else self._process.pid

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory that the process ever held."""
        if self._process is not None:
            self._peak = max(self._peak, peak_memory_bytes(self._process.pid))
        return self._peak

    def kill(self) -> None:
        """End the process at once; from any thread, any number of times."""
        self._stopped = True
        self._end()

    def close(self) -> None:
        """The same as `kill`: SPU has no quieter way to leave a link."""
        self.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _command(
        self, command: Command, event: Callable[[object], None] | None = None, timeout_s: float | None = None
    ) -> object:
        with self._busy:
            if not self.alive:
                raise self._why_it_ended()
            try:
                self._connection.send(command)
            except OSError:
                raise self._why_it_ended() from None
            return self._answer(event, timeout_s)

    def _answer(self, event: Callable[[object], None] | None, timeout_s: float | None) -> object:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while True:
                message = self._receive(None if deadline is None else deadline - time.monotonic())
                if isinstance(message, Done):
                    return message.answer
                if isinstance(message, Failed):
                    raise message.error
                if event is not None:
                    event(message)
        except BaseException:  # an interrupt or a failing callback too: answers would no longer match commands
            self._end()
            raise

    def _receive(self, remaining_s: float | None) -> object:
        try:
            if self._connection.poll(None if remaining_s is None else max(0.0, remaining_s)):
                return self._connection.recv()
        except (EOFError, OSError):
            raise self._why_it_ended() from None
        raise WorkerFailed("the worker took too long, and was stopped")

    def _why_it_ended(self) -> WorkerFailed:
        if self._process is None:
            return WorkerFailed("the worker was not started")
        if self._stopped:
            return WorkerFailed("the worker was stopped")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        spoken = _tail(self._spu_log)
        if lost := lost_while_sending(spoken, self._config.link):
            return lost
        code = self._process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return WorkerFailed(f"the worker was ended by {name}{hint}")
        console = without_name(_tail(self._console), self._config.link)
        last = next((line for line in reversed(console.splitlines()) if line.strip()), "")
        return WorkerFailed(f"the worker ended with exit status {code}{': ' if last else ''}{last.strip()[:300]}")

    def _end(self) -> None:
        with self._ending:
            if self._process is None or self._lifeline < 0:
                return
            _ = self.peak_memory_bytes
            self._process.kill()
            self._process.wait()
            os.close(self._lifeline)
            self._lifeline = -1
            for log in (self._console, self._spu_log):
                os.close(log)
            self._console = self._spu_log = -1
            leave(self._config.link)


def _tail(log: int) -> str:
    """The end of a log that is open; nothing of one that is closed."""
    try:
        return os.pread(log, _LOG_TAIL, max(0, os.fstat(log).st_size - _LOG_TAIL)).decode(errors="replace")
    except OSError:
        return ""
