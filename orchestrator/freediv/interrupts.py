"""Ctrl-C, SIGTERM and SIGHUP: all three end a command alike, and what it started with it.

By default each raises `KeyboardInterrupt` in the main thread, wherever that happens to be, so that every `finally` is
gone through. That may also be inside a library written in C, which may then leave its state broken or crash: a command
that has much to put away notes the signals when they come, and acts on them between two steps.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
_LOOK_S = 0.1


def end_alike() -> None:
    """From here on SIGTERM, and SIGHUP where it is not ignored (nohup), do what Ctrl-C does."""
    for number in _numbers():
        if number != signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
    sys.unraisablehook = _again


def _again(ignored: sys.UnraisableHookArgs) -> None:
    """An interrupt that came while a library's callback ran, which lets no exception out, comes once more."""
    if ignored.exc_type is not KeyboardInterrupt:
        return sys.__unraisablehook__(ignored)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(_LOOK_S, signal.pthread_kill, [main, signal.SIGTERM])  # SIGINT may be ignored
    timer.daemon = True
    timer.start()


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
    """From here on SIGINT, SIGTERM and SIGHUP are noted, and end only what runs under `Interrupts.run`.

    Only a main thread gets signals: in others nothing is changed.
    """
    interrupts = Interrupts()
    ours = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, interrupts.note) for number in (_numbers() if ours else ())}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _numbers() -> list[signal.Signals]:
    hung_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]
