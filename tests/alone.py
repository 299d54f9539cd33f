"""Tests that run while none of the other processes runs one: what they see depends on time, or they take all of it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

DOOR = Path(__file__)
ROOM = DOOR.with_name("conftest.py")
"""What is locked: any two files that are there."""


@contextmanager
def turn(test: pytest.Item) -> Iterator[None]:
    """Hold a test's turn: one that is marked `alone` waits for the others' ends, and who comes later for its own."""
    if not hasattr(test.config, "workerinput"):
        yield
        return
    with ExitStack() as stack:
        with DOOR.open() as door:
            fcntl.flock(door, fcntl.LOCK_EX)  # nobody overtakes the one who waits
            room = stack.enter_context(ROOM.open())
            fcntl.flock(room, fcntl.LOCK_EX if test.get_closest_marker("alone") else fcntl.LOCK_SH)
        yield
