"""Ctrl-C and SIGTERM for a command that has much to put away: noted when they come, acted on between two steps.

A handler that raises does so wherever the main thread happens to be, also inside a library written in C, which may
then leave its state broken or crash.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_LOOK_S = 0.1


class Interrupts:
    """Whether the user or the system has asked this process to end."""

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def note(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal; a handler for `signal.signal`."""
        self._numbers.append(number)

    def run(self, call: Callable[[], T], stop: Callable[[], object]) -> T:
        """Run `call` in a thread; when a signal comes, or had come before, call `stop`, which has `call` fail soon.

        Raises:
            KeyboardInterrupt: a signal came; `call` has ended.
        """
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(call)
            while not self._numbers:
                if wait([future], timeout=_LOOK_S).done:
                    return future.result()
            stop()
        raise KeyboardInterrupt


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """From here on SIGINT and SIGTERM are noted, and end only what runs under `Interrupts.run`."""
    interrupts = Interrupts()
    before = {number: signal.signal(number, interrupts.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
