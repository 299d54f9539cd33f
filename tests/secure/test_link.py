"""What the parties hold against each other before they run anything, over SPU's own link."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from freediv.secure.failures import ProgramMismatch, WorkerFailed
from freediv.secure.link import LinkConfig, agree
from freediv.secure.records import Traffic
from spu import libspu

PEERS = (("alpha", "a:1"), ("beta", "b:2"), ("gamma", "c:3"))


def _agree(terms: list[Any]) -> list[Any]:
    """What each party gets, all in one process."""

    def one(rank: int) -> Any:
        desc = libspu.link.Desc()
        for name, address in PEERS:
            desc.add_party(name, address)
        link = libspu.link.create_mem(desc, rank)
        try:
            beside = {other: f"{rank} for {other}".encode() for other in range(3) if other != rank}
            return agree(link, LinkConfig(rank, PEERS, 0, None, 5, 5), terms[rank], beside)
        except WorkerFailed as error:
            return error

    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(one, range(3)))


def test_equal_terms_are_agreed_on_and_counted() -> None:
    terms = {"request": "r", "batch": 2}
    sent = 2 * len('{"batch": 2, "request": "r"}' + "\0" + "0 for 1")
    found = _agree([terms] * 3)
    assert [traffic for _, traffic in found] == [Traffic(sent, sent, 2, 2)] * 3
    assert found[1][0] == {0: b"0 for 1", 2: b"2 for 1"}


@pytest.mark.parametrize(
    ("other", "seen"),
    [
        ({"request": "s", "model": "m"}, "beta has request s, this party r"),
        ({"request": "r", "model": "n"}, "beta has model n, this party m"),
        ({"request": "r"}, "beta has model None, this party m"),
    ],
)
def test_every_party_names_what_differs(other: Any, seen: str) -> None:
    terms = {"request": "r", "model": "m"}
    outcomes = _agree([terms, other, terms])
    assert [type(outcome) for outcome in outcomes] == [ProgramMismatch] * 3
    assert str(outcomes[0]) == str(outcomes[2]) == seen
    assert str(outcomes[1]).startswith("alpha has ")
