"""What becomes of a method whose caller goes away."""

from __future__ import annotations

import asyncio
import threading

import pytest
from freediv.party.answering import in_thread


def test_what_a_thread_writes_is_written_before_its_caller_tidies_up() -> None:
    """A model owner that dies while a share is written: the directory is removed after the write, not during it."""
    begun, go_on, order = threading.Event(), threading.Event(), list[str]()

    def write() -> None:
        begun.set()
        go_on.wait(10)
        order.append("written")

    async def take() -> None:
        try:
            await in_thread(write)
        finally:
            order.append("removed")

    async def die() -> None:
        taking = asyncio.ensure_future(take())
        await asyncio.to_thread(begun.wait, 10)
        taking.cancel()
        for _ in range(50):  # the cancellation goes its way, step by step
            await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(die())
    assert order == ["written", "removed"]


def test_a_threads_result_and_error_come_back() -> None:
    assert asyncio.run(in_thread(int, "7")) == 7
    with pytest.raises(ValueError):
        asyncio.run(in_thread(int, "x"))
