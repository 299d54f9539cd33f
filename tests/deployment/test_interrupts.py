"""Signals end a command between its steps, and never inside one."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from freediv.interrupts import noted_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_call_and_is_an_interrupt_only_after_it(number: signal.Signals) -> None:
    stopped, steps = threading.Event(), []

    def call() -> None:
        os.kill(os.getpid(), number)
        steps.append(stopped.wait(30))

    before = signal.getsignal(number)
    with noted_interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            interrupts.run(call, stopped.set)
        assert steps == [True]
    assert signal.getsignal(number) == before


def test_a_signal_that_came_before_ends_the_call_too() -> None:
    stopped = threading.Event()
    with noted_interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.run(lambda: stopped.wait(30), stopped.set)


def test_without_a_signal_the_call_gives_its_result_or_its_error() -> None:
    with noted_interrupts() as interrupts:
        assert interrupts.run(lambda: 3, lambda: None) == 3
        with pytest.raises(ZeroDivisionError):
            interrupts.run(lambda: 1 // 0, lambda: None)
