"""The process that holds one party's SPU runtime: it takes commands from `worker`, one at a time, and dies with it.

SPU ends its process when a message cannot be sent, and a fault in a kernel ends it too. So nothing else lives here.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..transformer import Architecture, Stage
from .commands import Command, Connect, Done, Failed, Load, Prepare, Progress, Run, RunResult, Use, WorkerConfig
from .consistency import all_sound, in_common
from .engine import Engine, make_engine
from .failures import WorkerFailed
from .link import agree, connect, explain
from .process import forbid_core_dumps, peak_memory_bytes, wire_bytes
from .profile import ProfileLog
from .programs import secure_stages
from .records import Records, Traffic
from .runtime import Lane, Runtime
from .shares import Share, join_rows, split_rows, zero_rows
from .shares_engine import make_ready
from .store import read_all, stored_bytes

Report = Callable[[object], None]


@dataclass(frozen=True)
class _Model:
    architecture: Architecture
    stages: tuple[Stage, ...]
    model_id: str
    engine: Engine


@dataclass(frozen=True)
class _Loading:
    """A model whose shares are being read: the steps that are left."""

    model_id: str
    steps: Iterator[Progress]


class Party:
    """What the commands act on: the link, the runtime and the model of one party."""

    def __init__(self, config: WorkerConfig, directory: Path) -> None:
        self._config = config
        self._log = ProfileLog(directory)
        self._link: Any = None
        self._runtime: Runtime | None = None
        self._model: _Model | None = None
        self._loaded: _Model | None = None
        self._loading: _Loading | None = None

    def connect(self, command: Connect, report: Report) -> None:
        """Join the other parties, and make sure that they run the same protocol."""
        config, settings = self._config, self._config.settings
        self._link = connect(config.link)
        agree(self._link, config.link, settings.terms() | {"products": config.products, "lanes": config.lanes})
        self._runtime = Runtime(self._link, settings, config.threads, self._log, config.lanes)

    def load(self, command: Load, report: Report) -> bool | UserError:
        """Take weight shares from disk beside the model in use; whether all are there, or what is wrong with them."""
        if self._loading is None or self._loading.model_id != command.model_id:
            self._loading = _Loading(command.model_id, self._begin(command))
        until = time.monotonic() + command.seconds
        try:
            for progress in self._loading.steps:
                report(progress)
                if time.monotonic() > until:
                    return False
        except UserError as error:
            self._loading = None
            return error
        return True

    def _begin(self, command: Load) -> Iterator[Progress]:
        assert self._runtime is not None
        engine = make_engine(self._config.products, command.architecture, self._runtime)
        if self._model is not None and self._model.architecture == command.architecture:
            engine.take_programs(self._model.engine)
        stages = secure_stages(command.architecture, command.output)
        by_name = {stage.name: stage for stage in stages}
        total, done = stored_bytes(command.weights), 0
        try:
            for stage, name, share in read_all(command.weights, command.architecture, self._config.settings):
                engine.load(by_name[stage], name, share)
                done += share.nbytes
                yield Progress(done, max(total, done))
            self._loaded = _Model(command.architecture, stages, command.model_id, engine)
        finally:
            if self._loaded is None or self._loaded.engine is not engine:
                engine.forget()
        yield Progress(total, total)

    def use(self, command: Use, report: Report) -> None:
        """Switch to the model that was loaded last."""
        assert self._loaded is not None and self._loaded.model_id == command.model_id
        if self._model is not None:
            self._model.engine.forget()
        self._model, self._loaded, self._loading = self._loaded, None, None

    def prepare(self, command: Prepare, report: Report) -> str:
        """Compile all stages for one shape; SHA-256 of everything that would run, in order."""
        assert self._model is not None
        digest = hashlib.sha256()
        for stage, rows in itertools.product(self._model.stages, self._rows(command.batch)):
            own = self._model.engine.prepare(stage, rows, command.length)
            digest.update(f"{own} {' '.join(stage.inputs)} {stage.output} {rows}\n".encode())
        return digest.hexdigest()

    def _rows(self, batch: int) -> list[int]:
        """How many sentences of a batch each lane computes."""
        lanes = min(batch, self._config.lanes)
        return [batch // lanes + (lane < batch % lanes) for lane in range(lanes)]

    def _agree_on(
        self, terms: dict[str, object], inputs: dict[str, tuple[Share, ...]]
    ) -> tuple[dict[str, tuple[Share, ...]], tuple[bool, ...], Traffic]:
        """Agree with the other parties on a run's terms, and on which parts of its inputs are sharings."""
        config, settings = self._config.link, self._config.settings
        parts = [dict(zip(inputs, part, strict=True)) for part in zip(*inputs.values(), strict=True)]
        # Elsewhere no two parties hold anything in common, or the ring is one that is not served.
        if (settings.name, settings.field) != ("ABY3", "FM64"):
            return inputs, (True,) * len(parts), agree(self._link, config, terms)[1]
        theirs, first = agree(self._link, config, terms, in_common(config.rank, parts))
        sound, second = all_sound(self._link, config, in_common(config.rank, parts), theirs)
        taken = [
            part if good else {name: zero_rows(own.shape, settings) for name, own in part.items()}
            for part, good in zip(parts, sound, strict=True)
        ]
        return {name: tuple(part[name] for part in taken) for name in inputs}, sound, first + second

    def run(self, command: Run, report: Report) -> RunResult:
        """One request: agree, run the stages in order, hand out this party's share of the output."""
        assert self._model is not None
        assert self._runtime is not None
        batch, length = command.batch, command.length
        began, wire = time.perf_counter(), wire_bytes()
        program = self.prepare(Prepare(batch, length), report)
        preparation = time.perf_counter() - began
        terms = {"request": command.request_id, "batch": batch, "length": length}
        terms |= {"model": self._model.model_id, "program": program}
        inputs, sound, total = self._agree_on(terms, command.inputs)
        rows, model = self._rows(batch), self._model
        records = Records(model.stages, len(rows), report)

        def compute(own: int) -> Callable[[Lane], None]:
            def stages(lane: Lane) -> None:
                for stage in model.stages:
                    records.add(stage, model.engine.execute(stage, own, length, lane))

            return stages

        with self._runtime.temporary():
            lanes = self._runtime.lanes[: len(rows)]
            for name, shares in inputs.items():
                for lane, part in zip(lanes, split_rows(join_rows(shares), rows), strict=True):
                    lane.set(name, part)
            self._runtime.side_by_side([compute(own) for own in rows])
            output = join_rows([lane.get(model.stages[-1].output) for lane in lanes])
        total += sum(records.traffic, Traffic())
        sent, received = (now - before for now, before in zip(wire_bytes(), wire, strict=True))
        link = {f"link_{name}": count for name, count in asdict(total).items()}
        return RunResult(
            output=output,
            sound=sound,
            records=records.all,
            **link,
            wire_sent_bytes=sent,
            wire_received_bytes=received,
            peak_memory_bytes=peak_memory_bytes(),
            preparation_seconds=preparation,
        )


def serve(connection: Connection, directory: Path) -> None:
    """Take the configuration, then commands until the other end is gone; the first that fails is the last."""
    config: WorkerConfig = connection.recv()
    if config.products == "shares":
        make_ready()  # now, when no other party waits for this one
    party = Party(config, directory)
    handlers = {Connect: party.connect, Load: party.load, Use: party.use, Prepare: party.prepare, Run: party.run}
    connection.send(Done(None))
    while True:
        command: Command = connection.recv()
        try:
            answer = handlers[type(command)](command, connection.send)  # type: ignore[operator]
        except (UserError, WorkerFailed) as error:
            return connection.send(Failed(error))
        except RuntimeError as error:
            return connection.send(Failed(explain(error, config.link)))
        connection.send(Done(answer))


def _end_with(lifeline: int, directory: Path) -> None:
    """Wait for the parent to be gone, then go too, whatever the other threads are at."""
    with contextlib.suppress(OSError):
        while os.read(lifeline, 1):
            pass
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """`python -m freediv.secure.child CONNECTION LIFELINE DIRECTORY`: descriptors from the parent, a private place."""
    connection, lifeline, directory = Connection(int(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
    forbid_core_dumps()
    threading.Thread(target=_end_with, args=(lifeline, directory), daemon=True).start()
    try:
        serve(connection, directory)
    except (EOFError, OSError):  # the parent is gone
        shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)  # SPU's own teardown waits for its peers


if __name__ == "__main__":
    main()
