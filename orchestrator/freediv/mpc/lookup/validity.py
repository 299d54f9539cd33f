"""Whether what a data owner sent is word pieces: checked before anything is made of it, and nothing but that is told.

Keys are any bytes, and stretch to any bits. Let e be what a pair's bits differ in (exclusive or), for each section of a
`Form`. A request is sound if, for each of its texts,
- each piece's e is the same for all pairs, and 1 at one index alone;
- so is that of the text's length L, at L - 1: places from L on are padding, those before are not;
- and, where the model reads pairs, that of the first separator's place: it is one, and no place before is.

**Protocol.** All parties hold all of a request before any of them says so, and a run begins after that.
1. Each party draws a coin and a key, and tells both others the coin and the party before it the key. The coins together
   give, by AES in counter mode, elements of the field F of 2^64: r_v for each index and a weight for each check.
   Pairs compare digests of what both keys of a point function have alike, too.
2. With X = sum of r_v e_v and Z = sum of r_v^3 e_v, which a pair holds in two parts, e is 1 at one index alone if
       X^3 = Z and the sum of e_v is 1.
   X and what else is multiplied of pair 0 becomes replicated: each party sends the one before it what it has, with its
   part of a fresh sharing of zero.
3. All checks are linear in such values but for products of two (x^3 = x x^2, and squares are linear). The sum of all,
   weighted, is 0 for a sound request. It becomes replicated as in step 2.
4. Each party sends both others its part of the product of that and a random element, which is replicated from the
   start (of word i, the key of word i gives it), with its part of another sharing of zero. A request of which the parts
   do not add up to 0 is not run. The sum itself is not told: where a party has let go of a request (its owner hung up)
   and runs nothing in its place, it would be a checksum of the text to that party, which has seen its keys; and one
   that adds something to what it says of a piece could tell the piece from it.

**Soundness.** The bits are fixed before there are coins. For e that is 1 at three indices or more, X^3 - Z has the
cross terms r_v^2 r_w of these: a polynomial of degree 3 that is not zero. For e that differ between pairs, the sum of
r_v (e_v - e'_v) is one of degree 1. What is left are sums and products of bits, which have to be 0 or 1. Weights are
independent of r, so that the whole, with the random element, is a polynomial of degree 5 at most, not zero, at random
places: it is 0 with a probability of 5 / 2^64 at most (Schwartz and Zippel), whatever was sent. A bit of a key that
changes nothing is found by the digests.

**What a party learns**: nothing but whether a request is sound. In step 1 coins, and digests of what it holds; in steps
2 and 3 words that are masked by a stream that it lacks; in step 4 parts that are uniformly random but for their sum,
which is 0, or for a request that is not sound uniformly random itself. Semi-honest parties, one of them corrupted; data
owners as they like. A party that deviates can add d to its X of a piece, and take off what that does to the checks if
the piece is v: the request is sound if it is v. That is one guess a request, and the owner of a wrong one is refused.

**Cost**: four rounds, of which two are there without it; 8 bytes a piece. Sketching takes some milliseconds of
additions for 128 pieces of a vocabulary of 30,522.

**Sources**: sketches of shared one-hots: Boneh, Boyle, Corrigan-Gibbs, Gilboa and Ishai, IEEE S&P 2021, over fields of
odd order, with r_v, r_v^2 and triples of the owner's. Over bits r_v^2 says nothing; r_v^3 is the next syndrome of a
code of Bose, Chaudhuri and Hocquenghem. Three parties multiply by themselves: Araki et al., CCS 2016.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..records import Traffic
from ..replicated.products import Words
from ..replicated.protocol import Stream
from .form import Form, Kind, Section
from .lookup import stretched
from .point_functions import Bits, Keys, common_part
from .sums import chosen_elements, cubes, ones, times, total

_SEED = 16
_DIGEST = 32


class Messages(Protocol):
    """The link between the parties, as far as it is needed here."""

    def exchange(self, purpose: str, messages: Mapping[int, bytes]) -> tuple[dict[int, bytes], Traffic]:
        """Send every other party a message, by rank, and take theirs."""


@dataclass(frozen=True)
class Part:
    """A party's part of one request: the keys of so many texts."""

    texts: int
    keys: bytes = field(repr=False)


@dataclass(frozen=True)
class Told:
    """What a party tells the others when it has all of a run's requests.

    Attributes:
        coin, key: random; the key is for the party before.
        digests: of what pairs have alike in each request: of the pair with the party before, and with the one after.
    """

    coin: bytes = field(repr=False)
    key: bytes = field(repr=False)
    digests: tuple[bytes, bytes]

    @classmethod
    def of(cls, form: Form, rank: int, parts: Sequence[Part]) -> Told:
        """Of a party's parts of requests. Drawn anew each time."""
        before, after = b"", b""
        for part in parts:
            keys = form.read(part.keys, rank)
            before += _alike(keys, rank)
            after += _alike(keys, (rank + 1) % 3)
        return cls(secrets.token_bytes(_SEED), secrets.token_bytes(_SEED), (before, after))

    def messages(self, rank: int) -> dict[int, bytes]:
        """By rank of the other party."""
        before, after = (rank - 1) % 3, (rank + 1) % 3
        return {before: self.coin + self.digests[0] + self.key, after: self.coin + self.digests[1]}


def _alike(keys: Mapping[Section, Keys], pair: int) -> bytes:
    own = [common_part(some).tobytes() for section, some in keys.items() if section.pair == pair]
    return hashlib.sha256(b"".join(own)).digest()


def sound(
    form: Form, rank: int, parts: Sequence[Part], told: Told, heard: Mapping[int, bytes], link: Messages
) -> tuple[tuple[bool, ...], Traffic]:
    """Whether each request is sound, the same answer at all parties.

    Args:
        form: of all of them.
        rank: this party's.
        parts: this party's of each request, of the right numbers of bytes.
        told, heard: what this party told the others, and they it, by `Told.messages`.
        link: this party's end.
    """
    before, after = (rank - 1) % 3, (rank + 1) % 3
    end = _SEED + _DIGEST * len(parts)
    theirs = [_digests(heard[other][_SEED:end]) for other in (before, after)]
    ours = map(_digests, told.digests)
    alike = bytes(own == other for own, other in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True))
    coins = {rank: told.coin} | {other: message[:_SEED] for other, message in heard.items()}
    seed = hashlib.sha256(b"".join(coins[r] for r in range(3))).digest()[:_SEED]
    zeros = Stream(told.key), Stream(heard[after][end:])

    sketch = _Sketch(form, rank, parts, Stream(seed))
    own = _hidden(sketch.multiplied(), zeros)
    came, first = link.exchange("sketches", {before: own.tobytes(), after: b""})
    values = sketch.checked(own, np.frombuffer(came[after], np.uint64))
    bounds = np.cumsum([0, *(part.texts for part in parts)])
    of_parts = np.array([total(values[a:b]) for a, b in itertools.pairwise(bounds)], np.uint64)
    random = [stream.words(of_parts.size) for stream in zeros]  # replicated, and nobody knows it
    own = _hidden(of_parts, zeros)
    came, second = link.exchange("sums", {before: own.tobytes(), after: b""})
    said = _hidden(_product((random[0], random[1]), (own, np.frombuffer(came[after], np.uint64))), zeros)
    heard_last, third = link.exchange("verdicts", dict.fromkeys((before, after), alike + said.tobytes()))
    all_alike, left = np.frombuffer(alike, np.uint8), said
    for message in heard_last.values():
        all_alike = all_alike & np.frombuffer(message[: len(parts)], np.uint8)
        left = left ^ np.frombuffer(message[len(parts) :], np.uint8).view(np.uint64)
    return tuple(bool(a) and b == 0 for a, b in zip(all_alike, left, strict=True)), first + second + third


def _digests(joined: bytes) -> list[bytes]:
    return [joined[start : start + _DIGEST] for start in range(0, len(joined), _DIGEST)]


def _hidden(values: Words, zeros: tuple[Stream, Stream]) -> Words:
    """With this party's part of a fresh sharing of zero."""
    return values ^ zeros[0].words(values.size) ^ zeros[1].words(values.size)


class _Sketch:
    """One party's parts of everything that is checked, [texts, ...] each; 0 where its pair has none of it."""

    def __init__(self, form: Form, rank: int, parts: Sequence[Part], coins: Stream) -> None:
        self._form, self._rank, length = form, rank, form.length
        self._texts = texts = sum(part.texts for part in parts)
        self._weights = {name: coins.words(texts * length).reshape(texts, length) for name in _WEIGHTS}
        self._of_text = {name: coins.words(texts)[:, None] for name in _WEIGHTS_OF_TEXTS}
        random = {"pieces": coins.words(form.vocabulary + 1)}
        random |= {kind: coins.words(length) for kind in ("lengths", "separators")}
        keys = [form.read(part.keys, rank) for part in parts]
        self._sums = np.zeros((3, texts, length), np.uint64)  # X of pieces, by pair
        self._cubes, self._odd, self._padding, self._ends = np.zeros((4, texts, length), np.uint64)
        self._one_hots = {kind: np.zeros((texts, length), np.uint64) for kind in ("lengths", "separators")}
        self._random = {kind: random[kind] for kind in self._one_hots}
        for section in form.of_party(rank):
            own = np.concatenate([each[section] for each in keys])
            party = section.party(rank)
            assert party is not None
            for span, bits in stretched(own, section, party):
                if section.kind == "pieces":
                    self._take(section.pair, span, bits, random["pieces"])
                else:
                    octets = np.unpackbits(bits.view(np.uint8), axis=1, count=length, bitorder="little")
                    self._one_hots[section.kind][span] = octets

    def _take(self, pair: int, span: slice, bits: Bits, random: Words) -> None:
        self._sums[pair].reshape(-1)[span] = chosen_elements(bits, random)
        if pair == 0:
            self._cubes.reshape(-1)[span] = chosen_elements(bits, cubes(random))
            self._odd.reshape(-1)[span] = ones(bits) & 1
            for found, index in ((self._padding, self._form.vocabulary), (self._ends, self._form.separator)):
                if index is not None:
                    found.reshape(-1)[span] = bits[:, index // 64] >> np.uint64(index % 64) & np.uint64(1)

    def multiplied(self) -> Words:
        """What is multiplied, one after another: X of pieces and lengths; of separators X, the pieces' coordinate of
        the separator, and its place.
        """
        found = [self._sums[0], self._sketched("lengths")]
        if self._form.separator is not None:
            found += [self._sketched("separators"), self._ends, self._one_hots["separators"]]
        return np.concatenate([values.reshape(-1) for values in found])

    def _sketched(self, kind: Kind, *, cubed: bool = False) -> Words:
        random = cubes(self._random[kind]) if cubed else self._random[kind]
        return np.bitwise_xor.reduce(random * self._one_hots[kind], axis=1)[:, None]

    def checked(self, own: Words, next_one: Words) -> Words:
        """This party's part of the weighted sum of all checks [texts], given two words of what is multiplied."""
        form, weights, of_text = self._form, self._weights, self._of_text
        public = np.uint64(self._rank == 0)
        lengths = self._one_hots["lengths"]
        over = np.bitwise_xor.accumulate(lengths, axis=1) ^ lengths  # 1 from a text's length on
        checks = [
            times(weights["one"], self._odd ^ public),
            times(weights["padding"], self._padding ^ over),
            times(weights["cube"], self._cubes),
            *self._one_hot("length", "lengths"),
        ]
        if form.secret:
            checks += [times(weights[f"pair {pair}"], self._sums[0] ^ self._sums[pair]) for pair in (1, 2)]
        shapes = [self._sums[0].shape, (self._texts, 1)]
        if form.separator is not None:
            checks += [*self._one_hot("separator", "separators"), of_text["end"] * public]
            shapes += [(self._texts, 1), *[self._sums[0].shape] * 2]
        words = [_split(some, shapes) for some in (own, next_one)]
        (x, x_length, *more), (y, y_length, *more_y) = words
        checks += [times(weights["cube"], _cube(x, y)), times(of_text["length cube"], _cube(x_length, y_length))]
        if form.separator is not None:
            (x_end, x_at, x_place), (y_end, y_at, y_place) = more, more_y
            checks.append(times(of_text["separator cube"], _cube(x_end, y_end)))
            checks.append(_product((x_at, y_at), [self._ends_weighted(place) for place in (x_place, y_place)]))
        return np.bitwise_xor.reduce(np.concatenate(checks, axis=1), axis=1)

    def _one_hot(self, name: str, kind: Kind) -> list[Words]:
        """That an index is one: their number is odd, and the linear part of the cube's check."""
        odd = np.bitwise_xor.reduce(self._one_hots[kind], axis=1)[:, None] ^ np.uint64(self._rank == 0)
        cubed = self._sketched(kind, cubed=True)
        return [times(self._of_text[name], odd), times(self._of_text[f"{name} cube"], cubed)]

    def _ends_weighted(self, place: Words) -> Words:
        """What a separator at each place counts: at the first one's 1 is due, and before it nothing may be."""
        later = np.bitwise_xor.reduce(place, axis=1)[:, None] ^ np.bitwise_xor.accumulate(place, axis=1)
        return times(self._weights["before"], later) ^ times(self._of_text["end"], place)


_WEIGHTS = ("one", "padding", "cube", "pair 1", "pair 2", "before")
_WEIGHTS_OF_TEXTS = ("length", "length cube", "separator", "separator cube", "end")


def _split(words: Words, shapes: Sequence[tuple[int, ...]]) -> list[Words]:
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(words, ends[:-1]), shapes, strict=True)]


def _product(x: tuple[Words, Words], y: Sequence[Words]) -> Words:
    """A summand of the product of replicated elements, two words each (Araki et al.)."""
    return times(x[0], y[0] ^ y[1]) ^ times(x[1], y[0])


def _cube(own: Words, next_one: Words) -> Words:
    """A summand of x^3: the product of x and x^2, whose words are squares of x's."""
    return _product((own, next_one), (times(own, own), times(next_one, next_one)))
