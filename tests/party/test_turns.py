"""Who is next: owners take turns, whoever came first."""

from __future__ import annotations

import pytest
from freediv.party.order.arrivals import Arrival
from freediv.party.order.turns import Turns
from hypothesis import given
from hypothesis import strategies as st


def told(owner: str, number: int, batch: int = 1, length: int = 16, model: str = "m") -> Arrival:
    return Arrival(f"data-owner/{owner}/{number}", model, batch, length)


def names(run: list[Arrival]) -> list[str]:
    return [one.request.removeprefix("data-owner/") for one in run]


def emptied(turns: Turns) -> list[str]:
    taken = []
    while turns:
        taken += names(turns.take(1))
    return taken


def test_an_owner_with_many_requests_does_not_keep_another_waiting() -> None:
    turns = Turns()
    for number in range(100):
        turns.add(told("alice", number))
    turns.add(told("bob", 0))
    assert emptied(turns)[:3] == ["alice/0", "bob/0", "alice/1"]


def test_an_owner_that_comes_back_at_once_still_takes_turns() -> None:
    turns = Turns()
    for owner in ("alice", "bob"):
        turns.add(told(owner, 0))
    taken = []
    for number in range(1, 4):
        taken.append(turns.take(1)[0].owner)
        turns.add(told("alice", number))
    assert taken == ["data-owner/alice", "data-owner/bob", "data-owner/alice"]


@given(st.lists(st.sampled_from("abcd"), max_size=40))
def test_nobody_waits_for_more_than_one_request_of_each_other_owner(owners: list[str]) -> None:
    turns = Turns()
    for number, owner in enumerate(owners):
        turns.add(told(owner, number))
    taken = emptied(turns)
    assert sorted(taken) == sorted(f"{owner}/{number}" for number, owner in enumerate(owners))
    for owner in set(owners):
        own = [int(one.split("/")[1]) for one in taken if one.startswith(owner)]
        assert own == sorted(own)
        places = [place for place, one in enumerate(taken) if one.startswith(owner)]
        between = [second - first for first, second in zip([-1, *places], places, strict=False)]
        assert all(gap <= len(set(owners)) for gap in between)


def test_a_request_that_is_dropped_has_no_turn() -> None:
    turns = Turns()
    for number in range(3):
        turns.add(told("alice", number))
    turns.discard("data-owner/alice/1")
    turns.discard("data-owner/bob/1")
    assert emptied(turns) == ["alice/0", "alice/2"]
    assert turns.take(8) == []


def test_requests_of_one_length_and_model_share_a_run_in_the_order_of_their_turns() -> None:
    turns = Turns()
    for one in (
        told("alice", 0),
        told("alice", 1),
        told("alice", 2, length=32),
        told("bob", 0, model="another"),
        told("carol", 0),
        told("carol", 1),
    ):
        turns.add(one)
    assert names(turns.take(8)) == ["alice/0", "carol/0", "alice/1", "carol/1"]
    assert names(turns.take(8)) == ["bob/0"]
    assert names(turns.take(8)) == ["alice/2"]


@pytest.mark.parametrize(
    ("batches", "size", "shared"),
    [
        ([1, 1, 1], 8, [1, 1]),  # three is no size that is compiled for
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], 8, [1] * 8),
        ([3, 3], 8, [3]),
        ([3, 3, 2], 8, [3, 3, 2]),
        ([3, 6, 1], 8, [3, 1]),
        ([20, 1, 1], 8, [20]),  # alone, whatever its size
        ([1, 1, 1, 1], 1, [1]),
    ],
)
def test_runs_that_are_shared_have_few_sizes(batches: list[int], size: int, shared: list[int]) -> None:
    turns = Turns()
    for number, batch in enumerate(batches):
        turns.add(told(f"owner-{number}", 0, batch))
    assert [one.batch for one in turns.next_run(size)] == shared
    assert turns.take(size) and len(turns) == len(batches) - len(shared)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.sampled_from([16, 32])), max_size=30))
def test_every_request_is_run_once_and_the_first_in_turn_in_the_first_run(asked: list[tuple[str, int, int]]) -> None:
    turns = Turns()
    for number, (owner, batch, length) in enumerate(asked):
        turns.add(told(owner, number, batch, length))
    runs = []
    while turns:
        first = next(turns.in_order())
        runs.append(turns.take(8))
        assert runs[-1][0] is first
        sentences = sum(one.batch for one in runs[-1])
        assert len(runs[-1]) == 1 or sentences in (1, 2, 4, 8)
    assert sorted(name for run in runs for name in names(run)) == sorted(
        f"{owner}/{number}" for number, (owner, _, _) in enumerate(asked)
    )
