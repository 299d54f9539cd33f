"""What parties hear when they compare what they have of a request: nothing of its text, whoever still holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from freediv.mpc.link.transport import Link
from freediv.mpc.lookup.form import Form
from freediv.mpc.lookup.sums import cubes, times, total
from freediv.mpc.lookup.validity import Part, Told, _Sketch, sound
from freediv.mpc.records import Traffic
from freediv.mpc.replicated.protocol import Stream

from .parties import RANKS, Parties, form, texts, together


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties()


@dataclass
class Noted:
    """A party's end of a link that keeps what the party says."""

    link: Link
    said: dict[str, bytes] = field(default_factory=dict)

    def exchange(self, purpose: str, messages: Mapping[int, bytes]) -> tuple[dict[int, bytes], Traffic]:
        self.said[purpose] = next(iter(messages.values()))
        return self.link.exchange(purpose, messages)


def opened_and_due(parties: Parties, own: Form, by_rank: Sequence[bytes]) -> tuple[int, int]:
    """What all parties' parts of the verdict on one unsound request add up to, and the weighted sum of its checks."""
    parts = [Part(1, content) for content in by_rank]
    told = [Told.of(own, rank, [parts[rank]]) for rank in RANKS]
    noted = [Noted(link) for link in parties.links]

    def check(rank: int) -> bool:
        heard, _ = parties.links[rank].exchange("terms", told[rank].messages(rank))
        return sound(own, rank, [parts[rank]], told[rank], heard, noted[rank])[0][0]

    assert together(*(lambda rank=rank: check(rank) for rank in RANKS)) == [False] * 3
    seed = hashlib.sha256(b"".join(one.coin for one in told)).digest()[:16]
    sketches = [_Sketch(own, rank, [parts[rank]], Stream(seed)) for rank in RANKS]
    words = [sketch.multiplied() for sketch in sketches]
    values = [sketch.checked(words[rank], words[(rank + 1) % 3]) for rank, sketch in enumerate(sketches)]
    said = [np.frombuffer(one.said["verdicts"][1:], np.uint64) for one in noted]
    return int(total(np.concatenate(said))), int(total(np.concatenate(values)))


@pytest.mark.parametrize(("secret", "gone"), [(True, 0), (True, 1), (True, 2), (False, 0), (False, 2)])
def test_of_a_request_that_a_party_let_go_of_nothing_is_told(parties: Parties, secret: bool, gone: int) -> None:
    """It has seen its keys: from the sum of the checks of nothing in their place it could try texts."""
    own = form(3000, secret=secret, pairs=True)
    by_rank = own.write(*texts(own, 1))
    by_rank[gone] = bytes(len(by_rank[gone]))
    opened, due = opened_and_due(parties, own, by_rank)
    assert opened != due


def test_of_what_is_no_text_nothing_is_told(parties: Parties) -> None:
    """The same request twice: what is opened is another element each time, and the sum never."""
    own = form(3000, pairs=True)
    by_rank = own.write(*texts(own, 1))
    by_rank[1] = bytes([by_rank[1][0] ^ 1]) + by_rank[1][1:]  # of a root, which the pair has no digest of
    found = [opened_and_due(parties, own, by_rank) for _ in range(2)]
    assert all(0 != opened != due != 0 for opened, due in found)


def test_who_adds_to_what_it_says_of_a_piece_reads_nothing(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of x^3 + (x + d)^3, weighted by coins that all know, two x are the roots: one that deviates could solve for x."""
    own = form(3000)
    honest = _Sketch.multiplied

    def multiplied(self: _Sketch) -> np.ndarray:
        words = honest(self)
        words[4] ^= np.uint64(self._rank == 1)
        return words

    monkeypatch.setattr(_Sketch, "multiplied", multiplied)
    opened, due = opened_and_due(parties, own, own.write(*texts(own, 1)))
    assert 0 != opened != due != 0


@pytest.mark.parametrize("secret", [True, False])
def test_who_adds_to_what_it_says_can_try_a_guess_at_one_piece(
    parties: Parties, monkeypatch: pytest.MonkeyPatch, secret: bool
) -> None:
    """What is left to a party that deviates: one word of one piece a request, and of another the owner hears that it
    sent no text. Of x^3 + (x + d)^3 + v^3 + (v + d)^3, where coins are v's, nothing is left if x is v.
    """
    own, guessed, place, d = form(3000, secret=secret), 1234, 2, np.uint64(1)
    take, multiplied, checked = _Sketch._take, _Sketch.multiplied, _Sketch.checked
    added: list[np.ndarray] = []

    def taken(self: _Sketch, pair: int, span: slice, bits: np.ndarray, random: np.ndarray) -> None:
        take(self, pair, span, bits, random)
        weight = self._weights["cube"][0, place]
        added[:] = [times(weight, cubes(random[guessed]) ^ cubes(random[guessed] ^ d))]

    def with_more(self: _Sketch) -> np.ndarray:
        words = multiplied(self)
        words[place] ^= d * np.uint64(self._rank == 0)
        return words

    def without(self: _Sketch, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return checked(self, first, second) ^ added[0] * np.uint64(self._rank == 0)

    for name, deviating in (("_take", taken), ("multiplied", with_more), ("checked", without)):
        monkeypatch.setattr(_Sketch, name, deviating)
    token_ids, mask = texts(own, 8)
    token_ids[::2, place] = guessed
    requests = [(1, own.write(token_ids[row : row + 1], mask[row : row + 1])) for row in range(8)]
    assert [parties.sound(own, [request]) for request in requests] == [(True,), (False,)] * 4
