"""Rank 0's list of requests: which parties hold them, when all do, and which are over."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ...wire.channels import WITHDRAWN

_REMEMBERED = 4096
"""How many requests that are over are remembered: one that comes late is told why."""


@dataclass
class Arrival:
    """A request, as far as its parties have told of it.

    `request` names its owner, too: where parties were shown different owners' certificates, they do not tell of the
    same request, and it is never complete. `ready` is when the last of them told, on the monotonic clock.
    """

    request: str
    model_id: str
    batch: int
    length: int
    ranks: set[int] = field(default_factory=set)
    ready: float = 0.0

    @property
    def owner(self) -> str:
        """Whose it is, as every party read it in a certificate."""
        return self.request.rpartition("/")[0]


class Arrivals:
    """Requests until all parties hold them, or the time for that is over. Lives in one event loop.

    Args:
        world_size: the number of parties.
        arrival_s: seconds from a request's first arrival to its last.
        on_ready: called with a request that all parties hold.
        on_drop: called with a request that is to be dropped by all, and why.
    """

    def __init__(
        self,
        world_size: int,
        arrival_s: float,
        on_ready: Callable[[Arrival], None],
        on_drop: Callable[[str, str], None],
    ) -> None:
        self._world_size = world_size
        self._arrival_s = arrival_s
        self._on_ready = on_ready
        self._on_drop = on_drop
        self._waiting: dict[str, Arrival] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._over: OrderedDict[str, str] = OrderedDict()

    def arrived(self, rank: int, told: Arrival) -> str:
        """A party holds a request; why it is refused, or nothing."""
        key = told.request
        if key in self._over:
            return self._over[key]
        arrival = self._waiting.get(key)
        if arrival is None:
            arrival = self._waiting[key] = told
            self._timers[key] = asyncio.get_running_loop().call_later(self._arrival_s, self._expire, arrival)
        same = (arrival.model_id, arrival.batch, arrival.length) == (told.model_id, told.batch, told.length)
        if not same or rank in arrival.ranks:
            return self._drop(key, "the parties were sent different requests under one id")
        arrival.ranks.add(rank)
        if len(arrival.ranks) == self._world_size:
            self._timers.pop(key).cancel()
            arrival.ready = time.monotonic()
            self._on_ready(arrival)
        return ""

    def withdrawn(self, key: str) -> None:
        """A request's owner has gone away."""
        if key not in self._over:
            self._drop(key, WITHDRAWN)

    def is_over(self, key: str) -> bool:
        """Whether nothing more is to be done for a request."""
        return key in self._over

    def finish(self, key: str, why: str) -> None:
        """A request is over; whoever still comes with it is told why."""
        self._waiting.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._over[key] = why
        while len(self._over) > _REMEMBERED:
            self._over.popitem(last=False)

    def _expire(self, arrival: Arrival) -> None:
        missing = sorted(set(range(self._world_size)) - arrival.ranks)
        names = " and ".join(f"party {rank}" for rank in missing)
        seconds = f"{self._arrival_s:g} s"
        self._drop(arrival.request, f"dropped by all parties: its shares did not reach {names} within {seconds}")

    def _drop(self, key: str, why: str) -> str:
        self.finish(key, why)
        self._on_drop(key, why)
        return why
