"""The protocol between the parties: right results, and messages that say nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from freediv.mpc.link.failures import ProgramMismatch
from freediv.mpc.replicated import protocol as replicated
from freediv.mpc.replicated import truncation
from freediv.mpc.replicated.protocol import Stream
from hypothesis import given, settings
from hypothesis import strategies as st

from .conftest import RANKS, Parties, join, make_links, together

EDGE = 2**62 - 1


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_numbers_come_back_divided_and_rounded_up_or_down(parties: Parties, data: st.DataObject):
    count = data.draw(st.integers(1, 4))
    shapes = [tuple(data.draw(st.lists(st.integers(0, 9), max_size=3))) for _ in range(count)]
    shifts = [data.draw(st.integers(1, 32)) for _ in range(count)]
    bits = [data.draw(st.sampled_from([1, 20, 40, 61])) for _ in range(count)]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    arrays = [rng.integers(-(2**b), 2**b, shape) for b, shape in zip(bits, shapes, strict=True)]
    results = parties.truncate(arrays, shifts)
    for k, (array, shift) in enumerate(zip(arrays, shifts, strict=True)):
        number = join([r[k] for r in results])
        assert number.shape == array.shape
        assert set(np.unique(number - (array >> shift))) <= {0, 1}


@pytest.mark.parametrize("opener", RANKS)
def test_numbers_at_the_edges_of_the_range(parties: Parties, opener: int):
    edges = np.repeat([EDGE, -EDGE, 0, 1, -1, 2**61, -(2**61)], 50)
    result = join([r[0] for r in parties.truncate([edges], [18])])
    assert set(np.unique(result - (edges >> 18))) <= {0, 1}


def residues(shift: int) -> list[int]:
    """What a number may leave when it is divided by 2^shift: the ends, the middle, and something between."""
    return sorted({0, 1, 2**shift // 3, 2 ** (shift - 1), 2**shift - 1})


@pytest.mark.parametrize("shift", range(1, 21))
def test_rounding_has_exactly_the_right_mean(parties: Parties, shift: int, monkeypatch: pytest.MonkeyPatch):
    """Over every rest that the helpers' random word can leave, each once: so the mean is that of the protocol."""
    rests = (np.random.default_rng(shift).integers(0, 2**63, 2**shift, dtype=np.uint64) << 1) >> shift << shift
    rests[: 2 ** (shift - 1)] |= np.uint64(2**64 - 2**shift)  # also where rounding up goes round
    rests |= np.arange(2**shift, dtype=np.uint64)
    mask = replicated._Helper.mask

    def with_rests(helper: replicated._Helper) -> None:
        helper._rest = rests
        mask(helper)

    monkeypatch.setattr(replicated._Helper, "mask", with_rests)
    monkeypatch.setattr(replicated, "MANY", 1 << 62)  # one opener for all
    for rest in residues(shift):
        number = (-5 << shift) + rest
        result = join([r[0] for r in parties.truncate([np.full(2**shift, number)], [shift])])
        assert int(result.sum()) == number
        assert set(np.unique(result)) == ({-5, -4} if rest else {-5})


def test_rounding_has_the_right_mean_over_random_sharings(parties: Parties):
    """With what the parties draw themselves. An exact multiple stays what it is, whoever opens."""
    count = 40_000
    for opener in RANKS:
        for end in parties.ends:
            end._turn = opener
        shifts = [shift for shift in range(1, 21) for _ in residues(shift)]
        numbers = [(7 << shift) + rest for shift in range(1, 21) for rest in residues(shift)]
        results = parties.truncate([np.full(count, number) for number in numbers], shifts, seed=opener)
        for k, (number, shift) in enumerate(zip(numbers, shifts, strict=True)):
            result = join([r[k] for r in results])
            up = number / 2**shift - 7
            assert set(np.unique(result)) <= ({7, 8} if up else {7})
            assert abs(result.mean() - 7 - up) <= 6 * np.sqrt(up * (1 - up) / count) + 10 / count


def test_every_party_opens_in_turn_and_costs_even_out(parties: Parties):
    for end in parties.ends:
        end.channel.take_traffic()
    for _ in RANKS:
        parties.truncate([np.arange(30_000)], [18])
    traffic = [end.channel.take_traffic() for end in parties.ends]
    assert len({t.sent_bytes for t in traffic}) == len({t.received_bytes for t in traffic}) == 1
    assert [t.sent_messages for t in traffic] == [4, 4, 4]
    bits = sum(t.sent_bytes for t in traffic) / 3 * 8 / 30_000
    assert 192 + 38 <= bits < 192 + 38 + 8


def test_many_numbers_are_opened_by_all_parties_at_once(parties: Parties):
    for end in parties.ends:
        end.channel.take_traffic()
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-(2**60), 2**60, (3, 50_000)), rng.integers(-(2**40), 2**40, 7)]
    results = parties.truncate(arrays, [18, 5])
    for k, shift in enumerate((18, 5)):
        assert set(np.unique(join([r[k] for r in results]) - (arrays[k] >> shift))) <= {0, 1}
    traffic = [end.channel.take_traffic() for end in parties.ends]
    assert {t.sent_messages for t in traffic} == {t.received_messages for t in traffic} == {4}
    assert max(t.sent_bytes for t in traffic) - min(t.sent_bytes for t in traffic) < 100


def test_many_arrays_share_four_messages(parties: Parties):
    for end in parties.ends:
        end.channel.take_traffic()
    parties.truncate([np.arange(5)] * 7, [18] * 7)
    assert sum(end.channel.take_traffic().sent_messages for end in parties.ends) == 4


class Tap:
    """A link context that keeps what it receives."""

    def __init__(self, link: Any) -> None:
        self._link, self.received = link, []
        self.rank, self.world_size = link.rank, link.world_size

    def send_async(self, rank: int, message: bytes) -> None:
        self._link.send_async(rank, message)

    def recv(self, rank: int) -> bytes:
        self.received.append(self._link.recv(rank))
        return self.received[-1]


def bare(array: np.ndarray, owner: int) -> list[np.ndarray]:
    """Summands that hide nothing: one party's is the number itself."""
    return [array.astype(np.int64).view(np.uint64) if i == owner else np.zeros(array.shape, np.uint64) for i in RANKS]


def views(array: np.ndarray) -> list[list[bytes]]:
    """What each party receives while an array is truncated, by each opener and with each party's summand being it."""
    taps = [Tap(link) for link in make_links()]
    parties = Parties(taps)
    for tap in taps:
        tap.received.clear()  # the keys
    for owner in RANKS:
        for _ in RANKS:
            summands = bare(array, owner)
            together(*(lambda i=i, s=summands: parties.ends[i].truncate([s[i]], [16]) for i in RANKS))
    return [tap.received for tap in taps]


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum())


INPUTS = {
    "zeros": np.zeros(40_000, np.int64),
    "the largest": np.full(40_000, EDGE),
    "the smallest": np.full(40_000, -EDGE),
    "small ones": np.arange(40_000) % 7 - 3,
}


@pytest.mark.parametrize("name", INPUTS)
def test_what_a_party_receives_is_uniform_whatever_the_input(name: str):
    for received in views(INPUTS[name]):
        for message in received:
            # 255 degrees of freedom: mean 255, deviation 22.6; fields of 16 bits fill their words
            counts = np.bincount(np.frombuffer(message, np.uint8), minlength=256)
            assert abs(chi_square(counts) - 255) < 6 * np.sqrt(2 * 255)
            words = np.frombuffer(message, np.uint64, len(message) // 8)
            bits = np.unpackbits(words.view(np.uint8)).reshape(-1, 64).mean(0)  # each bit of a word by itself
            assert np.all(np.abs(bits - 0.5) < 6 * 0.5 / np.sqrt(len(words)))


def test_what_a_party_receives_is_unrelated_to_all_that_it_holds(monkeypatch: pytest.MonkeyPatch):
    """To the masks that it knows, too: a message that only these masked would be as good as in the clear."""
    count, shift = 40_000, 16
    held: list[list[np.ndarray]] = [[], [], []]
    original = Stream.words
    owners: dict[int, int] = {}

    def record(stream: Stream, number: int) -> np.ndarray:
        words = original(stream, number)
        held[owners[id(stream)]].append(words.copy())
        return words

    taps = [Tap(link) for link in make_links()]
    parties = Parties(taps)
    owners = {id(stream): i for i in RANKS for stream in parties.ends[i]._streams.values()}
    monkeypatch.setattr(replicated.Stream, "words", record)
    for opener, owner, number in itertools.product(RANKS, RANKS, (0, -EDGE)):
        for i in RANKS:
            parties.ends[i]._turn = opener
            taps[i].received.clear()
            held[i].clear()
        summands = bare(np.full(count, number), owner)
        together(*(lambda i=i, s=summands: parties.ends[i].truncate([s[i]], [shift]) for i in RANKS))
        for i in RANKS:
            _are_unrelated(taps[i].received, held[i], count, shift)


def _are_unrelated(messages: list[bytes], drawn: list[np.ndarray], count: int, shift: int) -> None:
    """Of a party, messages to each other and to what it drew: words to words, the bits that hide the wrap to bits."""
    words = [w for w in drawn if len(w) == count]
    bits = [np.unpackbits(w.view(np.uint8), count=count) for w in drawn if len(w) == count // 64]
    bits += [(w >> np.uint64(63)).astype(np.uint8) for w in words]
    large = [np.frombuffer(m, np.uint64, len(m) // 8) for m in messages if len(m) > 8 * count]
    pairs = [(sent[:count], known >> np.uint64(down)) for sent in large for known in words for down in (0, shift)]
    for sent, known in (*pairs, *itertools.combinations(large, 2)):
        for related in (sent - known, sent + known, sent ^ known):
            _check_bits(np.unpackbits(related.view(np.uint8)).reshape(-1, 64).mean(0), count)
    for message in messages:
        if len(message) in (count // 8, 8 * count + count // 8):
            flips = np.unpackbits(np.frombuffer(message, np.uint8)[-(count // 8) :])
            for some in range(len(bits) + 1):
                for known in itertools.combinations(bits, some):
                    _check_bits(np.bitwise_xor.reduce([flips, *known]).mean(), count)


def _check_bits(mean: np.ndarray, count: int) -> None:
    assert np.all(np.abs(mean - 0.5) < 7 * 0.5 / np.sqrt(count))


def test_no_mask_is_ever_used_twice_also_on_a_new_link(monkeypatch: pytest.MonkeyPatch):
    drawn: dict[int, list[np.ndarray]] = {}
    original = Stream.words

    def record(stream: Stream, count: int) -> np.ndarray:
        words = original(stream, count)
        drawn.setdefault(id(stream), []).append(words.copy())
        return words

    monkeypatch.setattr(replicated.Stream, "words", record)
    kept = []  # so that no stream's id comes again
    for _ in range(2):
        parties = Parties()
        kept.append(parties)
        for _ in range(4):
            parties.truncate([np.zeros(1000, np.int64)], [18])
    streams = [np.concatenate(words) for words in drawn.values()]
    assert len(streams) == 2 * 6  # each of three keys at two parties, twice
    unique = np.unique(np.concatenate(streams))
    assert 2 * len(unique) == sum(map(len, streams))  # every word is drawn by its two holders and never again


def test_messages_of_the_same_numbers_differ_every_time():
    first, second = (views(np.zeros(1000, np.int64)) for _ in range(2))
    messages = [m for received in (*first, *second) for m in received]
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("odd", RANKS)
def test_a_party_with_another_shape_is_refused(odd: int):
    parties = Parties(make_links(2000))
    actions = []
    for i in RANKS:
        array = np.zeros(11 if i == odd else 10, np.uint64)
        actions.append(lambda i=i, array=array: parties.ends[i].truncate([array], [18]))
    with pytest.raises(ProgramMismatch, match=r"sent \d+ bytes where \d+ are due"):
        together(*actions)


def test_a_shift_that_cannot_be_done_is_refused(parties: Parties):
    for shift in (0, 33):
        with pytest.raises(ValueError, match="1 to 32"):
            parties.ends[0].truncate([np.zeros(1, np.uint64)], [shift])


def test_nothing_is_compiled_during_a_request():
    kernels = [
        truncation.mask_as_first,
        truncation.mask_as_second,
        truncation.open_and_split,
        truncation.finish_as_helper,
    ]
    replicated.compile_ahead()
    before = [len(kernel.signatures) for kernel in kernels]  # type: ignore[attr-defined]
    parties = Parties()
    for _ in RANKS:
        parties.truncate([np.zeros((2, 5), np.int64), np.zeros((), np.int64)], [18, 3])
    parties.truncate([np.zeros(replicated.MANY, np.int64)], [18])
    assert [len(kernel.signatures) for kernel in kernels] == before  # type: ignore[attr-defined]
