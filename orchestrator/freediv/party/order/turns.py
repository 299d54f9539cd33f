"""Whose request is next: owners take turns, so that one with a hundred requests does not keep another's one waiting."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from ...cluster.batching import BATCHES
from .arrivals import Arrival


class Turns:
    """Requests that all parties hold, until it is their turn. An owner's own requests keep their order."""

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str, deque[Arrival]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._by_owner.values()))

    def add(self, arrival: Arrival) -> None:
        """A request waits for its turn; an owner who had none waiting comes after those who have."""
        self._by_owner.setdefault(arrival.owner, deque()).append(arrival)

    def discard(self, key: str) -> None:
        """A request waits no longer."""
        for arrival in self.in_order():
            if arrival.request == key:
                return self._remove(arrival)

    def in_order(self) -> Iterator[Arrival]:
        """All requests in the order of their turns: every owner's first, then every owner's second, and so on."""
        waiting = [list(own) for own in self._by_owner.values()]
        for turn in range(max(map(len, waiting), default=0)):
            yield from (own[turn] for own in waiting if turn < len(own))

    def next_run(self, size: int) -> list[Arrival]:
        """The request whose turn it is, and those that can share its run, in the order of their turns.

        They are of one model and one length, and have one of `BATCHES` sentences together, `size` at most. The first
        alone may have any number. Nothing, where no request waits.
        """
        chosen: list[Arrival] = []
        sentences = best = 0
        for arrival in self.in_order():
            alike = not chosen or (arrival.model_id, arrival.length) == (chosen[0].model_id, chosen[0].length)
            if alike and (not chosen or sentences + arrival.batch <= size):
                chosen.append(arrival)
                sentences += arrival.batch
                if sentences in BATCHES or len(chosen) == 1:
                    best = len(chosen)
        return chosen[:best]

    def take(self, size: int) -> list[Arrival]:
        """`next_run`, which waits no longer; its owners' next requests come after everybody else's first."""
        run = self.next_run(size)
        for arrival in run:
            self._remove(arrival)
            if arrival.owner in self._by_owner:
                self._by_owner.move_to_end(arrival.owner)
        return run

    def _remove(self, arrival: Arrival) -> None:
        own = self._by_owner[arrival.owner]
        own.remove(arrival)
        if not own:
            del self._by_owner[arrival.owner]
