"""Rank 0's list of requests: all parties or none, and whoever comes late is told why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from freediv.party.order.arrivals import Arrival, Arrivals
from hypothesis import given
from hypothesis import strategies as st

NEVER, AT_ONCE = 3600.0, 0.0


def told(key: str = "alice/1", **changes: int) -> Arrival:
    return Arrival(key, "m", changes.get("batch", 1), changes.get("length", 16))


@dataclass
class Heard:
    ready: list[str] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def arrivals(self, seconds: float) -> Arrivals:
        return Arrivals(3, seconds, lambda one: self.ready.append(one.request), lambda *one: self.dropped.append(one))


def in_a_loop(work: Callable[[], None]) -> None:
    async def run() -> None:
        work()

    asyncio.run(run())


@given(st.permutations([(key, rank) for key in ("a/1", "b/1", "b/2") for rank in range(3)]))
def test_requests_are_ready_in_the_order_of_their_last_arrivals(order: list[tuple[str, int]]) -> None:
    heard = Heard()

    def work() -> None:
        arrivals = heard.arrivals(NEVER)
        for key, rank in order:
            assert arrivals.arrived(rank, told(key)) == ""

    in_a_loop(work)
    last = {key: max(i for i, one in enumerate(order) if one[0] == key) for key, _ in order}
    assert heard.ready == sorted(last, key=last.__getitem__)
    assert heard.dropped == []


def test_a_request_that_does_not_reach_all_is_dropped_and_latecomers_are_told_why() -> None:
    heard = Heard()

    async def run() -> str:
        arrivals = heard.arrivals(AT_ONCE)
        arrivals.arrived(0, told())
        await asyncio.sleep(0.01)
        return arrivals.arrived(1, told())

    why = asyncio.run(run())
    assert heard.dropped == [("alice/1", why)]
    assert "did not reach party 1 and party 2 within 0 s" in why
    assert heard.ready == []


@pytest.mark.parametrize("second", [told(batch=2), told(length=32), Arrival("alice/1", "other", 1, 16)])
def test_parties_that_were_sent_different_requests_answer_none(second: Arrival) -> None:
    heard = Heard()

    def work() -> None:
        arrivals = heard.arrivals(NEVER)
        assert arrivals.arrived(0, told()) == ""
        assert "different requests" in arrivals.arrived(1, second)
        assert "different requests" in arrivals.arrived(2, told())

    in_a_loop(work)
    assert heard.ready == []
    assert [key for key, _ in heard.dropped] == ["alice/1"]


def test_one_party_cannot_stand_for_two() -> None:
    heard = Heard()

    def work() -> None:
        arrivals = heard.arrivals(NEVER)
        arrivals.arrived(0, told())
        assert arrivals.arrived(0, told()) != ""

    in_a_loop(work)
    assert heard.ready == []


def test_a_withdrawn_request_is_dropped_once_also_before_it_arrives() -> None:
    heard = Heard()

    def work() -> None:
        arrivals = heard.arrivals(NEVER)
        arrivals.withdrawn("alice/1")
        arrivals.withdrawn("alice/1")
        assert "withdrew" in arrivals.arrived(0, told())
        assert arrivals.is_over("alice/1")

    in_a_loop(work)
    assert len(heard.dropped) == 1


def test_what_is_over_is_remembered_but_not_for_ever() -> None:
    def work() -> None:
        arrivals = Heard().arrivals(NEVER)
        for number in range(5000):
            arrivals.finish(f"a/{number}", "answered")
        assert arrivals.is_over("a/4999")
        assert not arrivals.is_over("a/0")

    in_a_loop(work)
