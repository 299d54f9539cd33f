"""A party's hold on the child process in which its SPU runtime lives: starts it, commands it, and sees it die."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Pipe
from pathlib import Path

from ..errors import UserError
from ..transformer import Architecture, input_shapes
from .commands import (
    Command,
    Connect,
    Done,
    Failed,
    Load,
    Output,
    Prepare,
    Progress,
    Run,
    RunResult,
    Use,
    WorkerConfig,
)
from .failures import PeerLost, ProgramMismatch, WorkerFailed
from .link import LinkTls, lost_while_sending
from .process import peak_memory_bytes
from .records import StageRecord
from .shares import Share

__all__ = ["LinkTls", "PeerLost", "ProgramMismatch", "RunResult", "Worker", "WorkerConfig", "WorkerFailed"]

_START_S = 300.0
_LOG_TAIL = 20_000


class Worker:
    """One SPU runtime in a process of its own. What fails, fails for good: make another, with the next epoch.

    Commands block, one at a time, in any thread; `kill` may be called from another, and the command then raises
    `WorkerFailed`. Every command raises `WorkerFailed` when the process has ended, with its cause in one line;
    `PeerLost` when the cause is another party.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._architecture: Architecture | None = None
        self._busy, self._ending = threading.Lock(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._lifeline = -1
        self._peak = 0

    def start(self) -> None:
        """Start the process; returns when it takes commands."""
        self._directory = Path(tempfile.mkdtemp(prefix="freediv-worker-", dir=self._config.log_directory))
        self._connection, theirs = Pipe()
        lifeline, self._lifeline = os.pipe()
        environment = os.environ | {
            "OMP_THREAD_LIMIT": str(self._config.threads),  # SPU's products ask for 4 each, and spin against each other
            "OMP_WAIT_POLICY": "passive",
            "MALLOC_ARENA_MAX": "2",  # SPU's many threads would each keep an arena's worth of freed memory
            "JAX_PLATFORMS": "cpu",
        }
        arguments = [str(theirs.fileno()), str(lifeline), str(self._directory)]
        with (self._directory / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "freediv.secure.child", *arguments],
                pass_fds=(theirs.fileno(), lifeline),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
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
            inputs: this party's shares, by activation name, with the shapes of `transformer.input_shapes`; several
                shares of a name are of parts of the batch, one below the other.
            on_stage: called after each stage.
            timeout_s: for the whole; the worker is then killed.

        Raises:
            ValueError: inputs that do not fit; nothing was sent, and the worker goes on.
            ProgramMismatch: the parties hold other models, programs or requests.
        """
        if self._architecture is None:
            raise ValueError("no model is loaded")
        wanted = input_shapes(self._architecture, batch, length)
        if set(inputs) != set(wanted):
            raise ValueError(f"inputs are {', '.join(sorted(inputs))}; the model takes {', '.join(sorted(wanted))}")
        given = {name: (own,) if isinstance(own, Share) else own for name, own in inputs.items()}
        for name, shape in wanted.items():
            for own in given[name]:
                own.check((*own.shape[:1], *shape[1:]) if len(given[name]) > 1 else shape, self._config.settings)
            if sum(own.shape[0] for own in given[name]) != batch:
                raise ValueError(f"the shares of {name} have other rows than the {batch} of the batch")

        def event(record: object) -> None:
            if on_stage is not None and isinstance(record, StageRecord):
                on_stage(record)

        result = self._command(Run(request_id, batch, length, given), event, timeout_s)
        assert isinstance(result, RunResult)
        self._peak = max(self._peak, result.peak_memory_bytes)
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
        spoken = _tail(self._directory / "spu.log")
        if lost := lost_while_sending(spoken, self._config.link):
            return lost
        code = self._process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return WorkerFailed(f"the worker was ended by {name}{hint}")
        last = next(
            (line for line in reversed(_tail(self._directory / "console.log").splitlines()) if line.strip()), ""
        )
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
            shutil.rmtree(self._directory, ignore_errors=True)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
