"""The SPU runtime of one party: its variables, the programs it runs, and what each of them cost."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import spu

from ..records import Traffic
from ..sharing.settings import ProtocolSettings
from ..sharing.shares import Share
from .profile import ProfileLog


class Runtime:
    """Shares by variable name, and programs over them. Constructed by all parties at once.

    A request, or a part of one, is computed in a lane. Lanes go on side by side, each in a thread of its own: while one
    waits for a message, another computes.

    Attributes:
        rank: this party's.
        settings: the protocol.
        threads: what this party may use of its host.
        lanes: all there are.
    """

    def __init__(self, link: Any, settings: ProtocolSettings, threads: int, log: ProfileLog, lanes: int = 1) -> None:
        self.rank: int = link.rank
        self.settings = settings
        self.threads = threads
        self._log = log
        self._spu = spu.Runtime(link, settings.runtime_config(threads))
        self._names: set[str] = set()
        self._order = _Order()
        # A link context of its own each, on the same connections; the parties have to make them in the same order.
        self.lanes = tuple(Lane(self, index, link.spawn()) for index in range(lanes))

    def set(self, name: str, share: Share) -> None:
        """Give a variable a value."""
        with self._order.moment:
            self._spu.set_var(name, share.to_spu())
            self._names.add(name)

    def get(self, name: str) -> Share:
        """This party's share of a variable."""
        with self._order.moment:
            return Share.from_spu(self._spu.get_var(name))

    def delete(self, name: str) -> None:
        """Forget a variable."""
        self._spu.del_var(name)
        self._names.discard(name)

    @contextlib.contextmanager
    def temporary(self) -> Iterator[None]:
        """Forget, at the end, every variable that came up meanwhile."""
        before = set(self._names)
        try:
            yield
        finally:
            for name in self._names - before:
                self.delete(name)

    def side_by_side(self, calls: Sequence[Callable[[Lane], None]]) -> None:
        """One call for each of the first lanes, at the same time; of one that fails the others are not waited for."""
        lanes = self.lanes[: len(calls)]
        self._order.begin([lane.index for lane in lanes])

        def run(lane: Lane, call: Callable[[Lane], None]) -> None:
            call(lane)
            self._order.leave(lane.index)

        if len(lanes) == 1:
            return run(lanes[0], calls[0])
        pool = ThreadPoolExecutor(len(lanes), "lane")
        futures = [pool.submit(run, lane, call) for lane, call in zip(lanes, calls, strict=True)]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
        pool.shutdown()

    def run(self, program: spu.Executable, lane: Lane) -> Traffic:
        """Run a program, together with the other parties, when it is the lane's turn; what this party sent for it.

        Raises:
            RuntimeError: SPU's, also when another party fell silent.
        """
        with self._order.turn(lane.index):
            self._log.take()
            self._spu.run(program)
            self._names.update(program.output_names)
            (profile,) = self._log.take()
            return profile.traffic


class Lane:
    """What is computed one after another: variables of its own beside the runtime's, and messages of its own.

    Attributes:
        index: among the runtime's lanes.
        link: for messages that nothing else sends; they have to be counted where they are sent.
    """

    def __init__(self, runtime: Runtime, index: int, link: Any) -> None:
        self._runtime, self.index, self.link = runtime, index, link

    def variable(self, name: str) -> str:
        """The runtime's name of a variable of the lane's."""
        return f"lane {self.index}/{name}"

    def set(self, name: str, share: Share) -> None:
        """Give a variable of the lane's a value."""
        self._runtime.set(self.variable(name), share)

    def get(self, name: str) -> Share:
        """This party's share of a variable of the lane's."""
        return self._runtime.get(self.variable(name))

    def run(self, program: spu.Executable) -> Traffic:
        """Run a program over variables of the runtime; see `Runtime.run`."""
        return self._runtime.run(program, self)


class _Order:
    """Who may use SPU's runtime: it is for one thread, and all parties must run its programs in the same order.

    So a program waits until every other lane is at a program too, or at its end; then they run in the order of the
    lanes. Nobody else decides, thus it is the same order everywhere, however fast the lanes are. Nor does a lane send
    anything meanwhile: SPU would count it as the program's.
    """

    def __init__(self) -> None:
        self.moment = threading.Condition()
        self._lanes: set[int] = set()
        self._waiting: set[int] = set()
        self._next: list[int] = []

    def begin(self, lanes: Sequence[int]) -> None:
        """These lanes take turns from now on."""
        self._lanes = set(lanes)

    @contextlib.contextmanager
    def turn(self, lane: int) -> Iterator[None]:
        """Wait for a lane's turn, and afterwards for those of all others."""
        with self.moment:
            self._waiting.add(lane)
            self._begin_round()
            self.moment.wait_for(lambda: self._next[:1] == [lane])
            yield
            self._next.pop(0)
            self.moment.notify_all()
            self.moment.wait_for(lambda: not self._next)

    def leave(self, lane: int) -> None:
        """A lane needs no more turns."""
        with self.moment:
            self._lanes.remove(lane)
            self._begin_round()

    def _begin_round(self) -> None:
        if self._lanes and self._waiting == self._lanes:
            self._next, self._waiting = sorted(self._waiting), set()
            self.moment.notify_all()
