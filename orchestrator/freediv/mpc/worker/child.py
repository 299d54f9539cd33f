"""The process that holds one party's SPU runtime: it takes commands from `worker`, one at a time, and dies with it.

SPU ends its process when a message cannot be sent, and a fault in a kernel ends it too. So nothing else lives here.

**What an error in a run costs.** Up to the parties' agreement on a run nothing has been sent for it. A party in which
anything goes wrong until then says so in the agreement, in place of its terms: all parties give up this run alone
(`NotBegun`), the link stays in step, and all workers go on. Once the stages have begun, a party that stops leaves the
others waiting for messages that do not come, and what it had sent would be taken for the next run's; so there any error
ends the worker, with one line, and the parties come together on a new link. No owner can bring that about. What owners
send has been read before the agreement: it is words of the shape that was announced (`Share.check`), or the run is not
begun; what are no sharings are zeros by then (`consistency`). Or it is keys of the size that was announced, of
which those of no text give zeros (`lookup.validity`). The stages compute with words, of which all 2^64 are numbers, in
shapes that the parties chose; nothing in them depends on a value, so they go the same way whatever it is.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import ModuleType
from typing import cast

from ...errors import UserError
from ...model import Architecture, Stage
from ...process import forbid_core_dumps, peak_memory_bytes, wire_bytes
from ..engine import Engine, make_engine
from ..link.failures import NotBegun, WorkerFailed, unforeseen
from ..link.transport import Link, LinkConfig, connect, explain, leave
from ..lookup import sums
from ..lookup.form import WORD_TABLE, Form, in_keys, request_shapes, with_rows
from ..lookup.lookup import Lookup
from ..lookup.tables import of_published, of_secret
from ..records import Cost, Records, Traffic
from ..shares_engine import make_ready
from ..sharing.share_files import read_all, stored_bytes
from ..sharing.shares import join_rows
from ..spu.profile import ProfileLog
from ..spu.programs import secure_stages
from ..spu.runtime import Lane, Runtime
from .commands import Command, Connect, Done, Failed, Load, Prepare, Progress, Run, RunResult, Use, WorkerConfig
from .texts import Agreed, agree_on_keys, agree_on_shares, check_inputs

Report = Callable[[object], None]


@dataclass(frozen=True)
class _Model:
    architecture: Architecture
    stages: tuple[Stage, ...]
    model_id: str
    engine: Engine
    lookup: Lookup | None


@dataclass(frozen=True)
class _Loading:
    """A model whose shares are being read: the steps that are left."""

    model_id: str
    steps: Iterator[Progress]


class Party:
    """What the commands act on: the link, the runtime and the model of one party."""

    def __init__(self, config: WorkerConfig, log: int) -> None:
        self._config = config
        self._log = ProfileLog(log)
        self._link: Link | None = None
        self._runtime: Runtime | None = None
        self._model: _Model | None = None
        self._loaded: _Model | None = None
        self._loading: _Loading | None = None

    def connect(self, command: Connect, report: Report) -> None:
        """Join the other parties, and make sure that they run the same protocol."""
        config, settings = self._config, self._config.settings
        self._link = connect(config.link)
        self._link.agree(
            settings.terms() | {"products": config.products, "lookup": config.lookup, "lanes": config.lanes}
        )
        self._runtime = Runtime(self._link.context, settings, config.threads, self._log, config.lanes)

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
        config, architecture = self._config, command.architecture
        keyed = in_keys(architecture, config.lookup)
        of_party = (config.rank, config.settings.fraction_bits, config.threads)
        lookup: Lookup | None = None
        run = with_rows(architecture) if keyed else architecture
        engine = make_engine(config.products, run, self._runtime)
        if self._model is not None and self._model.architecture == architecture:
            engine.take_programs(self._model.engine)
        stages = secure_stages(run, command.output)
        by_name = {stage.name: stage for stage in stages}
        total, done = stored_bytes(command.weights), 0
        try:
            for stage, name, share in read_all(command.weights, architecture, config.settings):
                if keyed and (stage, name) == WORD_TABLE:
                    lookup = of_secret(architecture, share, *of_party)
                else:
                    engine.load(by_name[stage], name, share)
                done += share.nbytes
                yield Progress(done, max(total, done))
            if keyed and lookup is None:
                lookup = of_published(architecture, command.weights, *of_party)
            self._loaded = _Model(architecture, stages, command.model_id, engine, lookup)
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

    def _terms(self, command: Run, report: Report) -> dict[str, object]:
        """What all parties must have alike for a run, once everything is done for it that needs no other party.

        Raises:
            UserError: an input is not what the model takes.
        """
        assert self._model is not None
        batch, length = command.batch, command.length
        config = self._config
        shapes = request_shapes(self._model.architecture, batch, length, config.lookup, config.rank)
        check_inputs(command.inputs, shapes, config.settings)
        program = self.prepare(Prepare(batch, length), report)
        terms = {"request": command.request_id, "batch": batch, "length": length}
        if self._model.lookup is not None:  # how keys are laid out, and in which order coins are drawn
            terms["form"] = repr(Form.of(self._model.architecture, length))
        return terms | {"model": self._model.model_id, "program": program}

    def _not_begun(self, error: Exception) -> NotBegun:
        """Have the other parties hear that this one cannot begin a run."""
        assert self._link is not None
        try:
            self._link.agree(None)
        except NotBegun:
            return NotBegun(str(error) if isinstance(error, UserError) else unforeseen(error))
        raise AssertionError("unreachable")

    def _agree_on(self, terms: dict[str, object], command: Run) -> Agreed:
        """Agree with the other parties on a run's terms, and on which of its requests are sound."""
        assert self._link is not None and self._model is not None
        model, rows = self._model, self._rows(command.batch)
        if model.lookup is None:
            return agree_on_shares(self._link, self._config.settings, terms, command.inputs, rows)
        form = Form.of(model.architecture, command.length)
        return agree_on_keys(self._link, form, model.lookup, terms, command.inputs, rows)

    def run(self, command: Run, report: Report) -> RunResult | NotBegun:
        """One request: agree, run the stages in order, hand out this party's share of the output."""
        assert self._runtime is not None
        batch, length = command.batch, command.length
        began, wire = time.perf_counter(), wire_bytes()
        try:
            terms = self._terms(command, report)
        except Exception as error:
            return self._not_begun(error)
        preparation = time.perf_counter() - began
        try:
            agreed = self._agree_on(terms, command)
        except NotBegun as error:
            return error
        assert self._model is not None
        rows, model = self._rows(batch), self._model
        records = Records(model.stages, len(rows), report)

        def compute(own: int) -> Callable[[Lane], None]:
            def stages(lane: Lane) -> None:
                agreed.texts.give(lane)
                for stage in model.stages:
                    records.add(stage, model.engine.execute(stage, own, length, lane))

            return stages

        with self._runtime.temporary():
            lanes = self._runtime.lanes[: len(rows)]
            self._runtime.side_by_side([compute(own) for own in rows])
            output = join_rows([lane.get(model.stages[-1].output) for lane in lanes])
        total = agreed.traffic + sum(records.traffic, Traffic())
        sent, received = (now - before for now, before in zip(wire_bytes(), wire, strict=True))
        return RunResult(
            output, agreed.sound, Cost(records.all, total, peak_memory_bytes(), preparation, sent, received)
        )


def serve(config: WorkerConfig, connection: Connection, log: int) -> None:
    """Take commands until the other end is gone; the first that fails is the last.

    A run that was not begun has not failed, nor has reading shares that are damaged: both are answers.
    """
    with _without("scipy"):
        if config.products == "shares":
            make_ready()  # now, when no other party waits for this one
        if config.lookup == "points":
            sums.compile_ahead()
    gc.freeze()  # what is there by now stays
    gc.enable()
    party = Party(config, log)
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
        except Exception as error:
            return connection.send(Failed(WorkerFailed(unforeseen(error))))
        connection.send(Done(answer))


@contextlib.contextmanager
def _without(module: str) -> Iterator[None]:
    """As if a module were not installed: numba loads all of SciPy's linear algebra, and nothing here is made of it."""
    there = module in sys.modules
    sys.modules.setdefault(module, cast(ModuleType, None))
    yield
    if not there:
        del sys.modules[module]


def _end_with(lifeline: int, link: LinkConfig) -> None:
    """Wait for the parent to be gone, then go too, whatever the other threads are at."""
    with contextlib.suppress(OSError):
        while os.read(lifeline, 1):
            pass
    leave(link)
    os._exit(0)


def main() -> None:
    """`python -m ...child CONNECTION LIFELINE LOG`: descriptors from the parent, the last of SPU's log."""
    ends, lifeline, log = map(int, sys.argv[1:])
    connection = Connection(ends)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
    forbid_core_dumps()
    try:
        config: WorkerConfig = connection.recv()
    except (EOFError, OSError):  # the parent is gone
        os._exit(0)
    threading.Thread(target=_end_with, args=(lifeline, config.link), daemon=True).start()
    try:
        serve(config, connection, log)
    except (EOFError, OSError):
        leave(config.link)
    os._exit(0)  # SPU's own teardown waits for its peers


if __name__ == "__main__":
    main()
