"""What a data owner may send in place of word pieces, tried a thousand times each: no party runs it.

Keys stretch to bits, so that a two or a half cannot be written: what an owner has instead is any bits at all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from freediv.mpc.lookup.form import Form
from freediv.mpc.lookup.point_functions import generate, key_bytes, stretch
from lookup.parties import RANKS, SEPARATOR, Parties, form, texts

TRIES, TOGETHER = 1000, 250
Request = list[bytearray]
"""What each party gets."""
Cheat = Callable[[Form, Request, np.random.Generator], None]


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties()


OTHERS = range(60, 100)
"""Pieces that honest texts do not have here."""


def place(own: Form, rank: int, kind: str, pair: int, number: int) -> slice:
    """Where a party's key lies."""
    start = 0
    for section in own.of_party(rank):
        if (section.kind, section.pair) == (kind, pair):
            size = key_bytes(section.size)
            return slice(start + number * size, start + (number + 1) * size)
        start += section.bytes_of_a_text
    raise LookupError


def holders(pair: int) -> tuple[int, int]:
    return pair, (pair - 1) % 3


def put(own: Form, request: Request, kind: str, pair: int, number: int, index: int, size: int) -> None:
    """The keys of another index."""
    keys = generate(np.array([index]), size)
    for rank, key in zip(holders(pair), keys, strict=True):
        request[rank][place(own, rank, kind, pair, number)] = key.tobytes()


def everywhere(own: Form, request: Request, number: int, index: int, size: int | None = None) -> None:
    for pair in range(3):
        put(own, request, "pieces", pair, number, index, size or own.vocabulary + 1)


def more_ones(own: Form, request: Request, random: np.random.Generator, count: int) -> None:
    """Change the leaf's correction in both keys, in all pairs: so many other bits of the one leaf."""
    number, others = int(random.integers(own.length)), random.choice(OTHERS, count, replace=False)
    for pair in range(3):
        for rank in holders(pair):
            span = place(own, rank, "pieces", pair, number)
            leaf = slice(span.stop - 16, span.stop)
            bits = np.unpackbits(np.frombuffer(bytes(request[rank][leaf]), np.uint8), bitorder="little")
            bits[others] ^= 1
            request[rank][leaf] = np.packbits(bits, bitorder="little").tobytes()


def nothing(own: Form, request: Request, random: np.random.Generator) -> None:
    """The same key for both of a pair, as the first and the second: no index at all, but for what they do differently.

    With roots that are equal both bits of a node are the same only where the second's stays 1; a correction of the
    leaf that is 0 makes the leaves the same.
    """
    number = int(random.integers(own.length))
    for pair in range(3):
        key = bytes(16 * 1) + bytes(key_bytes(own.vocabulary + 1) - 16)
        for rank in holders(pair):
            request[rank][place(own, rank, "pieces", pair, number)] = key


def another_piece_in_one_pair(own: Form, request: Request, random: np.random.Generator) -> None:
    number, pair = int(random.integers(own.length)), int(random.integers(3))
    put(own, request, "pieces", pair, number, int(random.choice(OTHERS)), own.vocabulary + 1)


def padding_before_a_piece(own: Form, request: Request, random: np.random.Generator) -> None:
    everywhere(own, request, int(random.integers(2)), own.vocabulary)


def another_length(own: Form, request: Request, random: np.random.Generator) -> None:
    """The mask is longer or shorter than the text: texts here have 10 pieces."""
    index = int(random.choice([n for n in range(own.length) if n != 9]))
    put(own, request, "lengths", 0, 0, index, own.length)


def beyond_the_vocabulary(own: Form, request: Request, random: np.random.Generator) -> None:
    """An index that the keys' tree has, and no table."""
    number, index = int(random.integers(own.length)), int(random.integers(own.vocabulary + 1, 128))
    everywhere(own, request, number, index, 128)


def no_separator_there(own: Form, request: Request, random: np.random.Generator) -> None:
    """Segments begin where there is no separator: the first is at 4."""
    index = int(random.choice([n for n in range(own.length) if n != 4]))
    put(own, request, "separators", 0, 0, index, own.length)


def an_earlier_separator(own: Form, request: Request, random: np.random.Generator) -> None:
    everywhere(own, request, int(random.integers(4)), SEPARATOR)


def keys_of_another_request(own: Form, request: Request, random: np.random.Generator) -> None:
    other, rank = own.write(*honest(own, 1, int(random.integers(1 << 30)))), int(random.integers(3))
    request[rank][:] = other[rank]


def a_flipped_bit(own: Form, request: Request, random: np.random.Generator) -> None:
    rank = int(random.integers(3))
    at = int(random.integers(len(request[rank])))
    request[rank][at] ^= 1 << int(random.integers(8))


def a_flipped_bit_in_both_keys(own: Form, request: Request, random: np.random.Generator) -> None:
    """In the correction of the leaf, where the pair's digests are the same: one 1 more, or one fewer."""
    pair, number, bit = (int(random.integers(most)) for most in (3, own.length, own.vocabulary + 1))
    for rank in holders(pair):
        span = place(own, rank, "pieces", pair, number)
        request[rank][span.stop - 16 + bit // 8] ^= 1 << bit % 8


def random_bytes(own: Form, request: Request, random: np.random.Generator) -> None:
    for part in request:
        part[:] = random.bytes(len(part))


def honest(own: Form, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of ten pieces, of which the fifth and the tenth are separators."""
    token_ids, _ = texts(own, count, seed)
    token_ids[:] = 4 + token_ids % 50
    token_ids[:, [4, 9]] = SEPARATOR
    return token_ids, np.broadcast_to(np.arange(own.length) < 10, token_ids.shape).astype(int)


def requests(own: Form, count: int, seed: int) -> list[Request]:
    """Requests of a text each."""
    by_rank = own.write(*honest(own, count, seed))
    cut = [[part[i * len(part) // count : (i + 1) * len(part) // count] for i in range(count)] for part in by_rank]
    return [[bytearray(cut[rank][i]) for rank in RANKS] for i in range(count)]


CHEATS: list[Cheat] = [
    lambda own, request, random: more_ones(own, request, random, 1),
    lambda own, request, random: more_ones(own, request, random, 2),
    lambda own, request, random: more_ones(own, request, random, 3),
    nothing,
    another_piece_in_one_pair,
    padding_before_a_piece,
    another_length,
    beyond_the_vocabulary,
    no_separator_there,
    an_earlier_separator,
    keys_of_another_request,
    a_flipped_bit,
    a_flipped_bit_in_both_keys,
    random_bytes,
]
NAMES = ["two ones", "three ones", "four ones", *(cheat.__name__ for cheat in CHEATS[3:])]


@pytest.mark.parametrize("cheat", CHEATS, ids=NAMES)
def test_what_is_no_text_is_refused_every_time(parties: Parties, cheat: Cheat) -> None:
    """Between them requests of honest owners, every one of which is run."""
    own, random = form(100, pairs=True), np.random.default_rng(11)
    for start in range(0, TRIES, TOGETHER):
        sent = requests(own, TOGETHER + 10, start)
        changed = 0
        for request in sent[:TOGETHER]:
            before = [bytes(part) for part in request]
            cheat(own, request, random)
            changed += before != [bytes(part) for part in request]
        found = parties.sound(own, [(1, [bytes(part) for part in request]) for request in sent])
        assert changed == TOGETHER
        assert not any(found[:TOGETHER])
        assert all(found[TOGETHER:])


def test_a_published_tables_pair_is_checked_alike(parties: Parties) -> None:
    own, random = form(100, secret=False, pairs=True), np.random.default_rng(5)
    sent = requests(own, 300, 1)
    for request in sent[:250]:
        rank = int(random.choice([0, 2]))  # the third has nothing of a request
        request[rank][int(random.integers(len(request[rank])))] ^= 1 << int(random.integers(8))
    put(own, sent[250], "pieces", 0, 3, own.vocabulary, own.vocabulary + 1)
    put(own, sent[251], "lengths", 0, 0, 12, own.length)
    found = parties.sound(own, [(1, [bytes(part) for part in request]) for request in sent])
    assert not any(found[:252])
    assert all(found[252:])


def test_one_text_of_many_spoils_its_request_alone(parties: Parties) -> None:
    own = form(100)
    first, second = own.write(*honest(own, 3, 1)), own.write(*honest(own, 2, 2))
    odd = [bytearray(part) for part in first]
    odd[1][len(odd[1]) // 2] ^= 1
    assert parties.sound(own, [(3, [bytes(part) for part in odd]), (2, second)]) == (False, True)
    assert parties.sound(own, [(3, first), (2, second)]) == (True, True)


def test_whatever_two_vectors_differ_in_they_are_bits(parties: Parties) -> None:
    """No key stretches to anything else, so there is no two, no half and no other number to send."""
    random = np.random.default_rng(1)
    keys = np.frombuffer(random.bytes(50 * key_bytes(101)), np.uint8).reshape(50, -1)
    for party in range(2):
        assert stretch(keys, 101, party).shape == (50, 2)
        assert not (stretch(keys, 101, party)[:, 1] >> np.uint64(101 - 64)).any()
