"""From keys of point functions to what a model reads, as replicated shares, in two rounds.

Pair i, parties i and i - 1, know the bits a and b of a piece, which differ at its index x alone, and both hold word i
of the table, t. So
    sum of a_v t_v - sum of b_v t_v = (a_x - b_x) t_x,
which is t_x, or its negative: the parties cannot know which. But as the bits are the same elsewhere, the sign is also
the difference of how many bits are 1, n_a - n_b, which is 1 or -1. Let n = 2 n'' + n' mod 4 for two bits: the sign is
f_a f_b, for
    f_a = -1 if n_a' + n_a'' is even, else 1,        f_b = -1 if n_b'' is 1, else 1,
of which either party of the pair knows one. With A = f_a sum a_v t_v and B = f_b sum b_v t_v, t_x = f_b A - f_a B.

**Protocol.** For pair i the third party, i + 1, helps. The pair draws masks r and s from its common stream.
1. The first sends the third f_a and A + r, the second f_b and B + s. The third has f_b (A + r) - f_a (B + s), the first
   f_a s and the second -f_b r: they add up to t_x. Over all pairs each party adds up what it has: a summand of the row.
2. As always (`replicated.protocol`), summands become replicated shares: each party adds its part of a fresh sharing of
   zero, and sends the result to the party before it.
Nothing is rounded: rows are the table's, to the bit. What is public (a table of masks by length) is looked up the same
way by pair 0 alone.

An element costs nine words over all parties in nine messages; with a published table, five in five. What the pairs
compute is additions alone (`sums`).

**Security**: semi-honest, one corrupted party. The third party sees A + r and B + s, uniformly random, and f_a and f_b.
For a uniformly random a, (n_a, a_x) is distributed alike whatever x is, as all places are; so are f_a and f_a f_b; and
a is pseudorandom, as one party's key of a point function is. Step 2 is masked by a stream that the receiver lacks.

**Sources**: rows from point functions of two servers: Boyle, Gilboa and Ishai, CCS 2016, whose outputs are words of
the ring; the sign above is put together here, and makes bits do: 60 times less of a tree, and no multiplications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..replicated.products import Words
from ..replicated.protocol import Replicated
from ..replicated.words import encode
from .form import Form, Kind, Section
from .point_functions import Bits, Keys, stretch, words_of
from .sums import chosen_rows, ones

_MOST_WORDS = 1 << 20
"""Of bits at a time."""


def stretched(keys: Keys, section: Section, party: int) -> Sequence[tuple[slice, Bits]]:
    """The bits of keys, part by part, so that no more than some megabytes are there at a time."""
    step = max(1, _MOST_WORDS // words_of(section.size))
    spans = (slice(start, min(start + step, len(keys))) for start in range(0, len(keys), step))
    return ((span, stretch(keys[span], section.size, party)) for span in spans)  # type: ignore[return-value]


class Lookup:
    """One party's part of all lookups in a model's tables.

    Args:
        table: words of the word table, by the pairs that a party is of: [vocabulary, width] each; where it is
            published, the table itself as pair 0's.
        width: of the table.
        fraction_bits: of the numbers in it.
        threads: the cores that may be used.
    """

    def __init__(self, table: Mapping[int, Words], width: int, fraction_bits: int, threads: int = 1) -> None:
        self._table, self._bits = table, fraction_bits
        self._threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self._threads, "lookup") if self._threads > 1 else None
        self.width = width

    def run(self, form: Form, content: bytes, taken: np.ndarray, replicated: Replicated) -> dict[str, Words]:
        """What a model reads of some texts: words [2, texts, rows] or [2, texts, length, width] by activation.

        Args:
            form: of the request.
            content: this party's part of it.
            taken: which texts are looked up, bool [texts]; all that is made of others is zero.
            replicated: this party's end.

        Raises:
            ProgramMismatch: another party sent what does not fit.
        """
        rank, texts = replicated.rank, len(taken)
        tables = _tables(form, self._bits)
        keys = form.read(content, rank)
        totals = {
            kind: np.zeros((texts * count, columns), np.uint64) for kind, count, columns in self._sizes(form, tables)
        }
        halves: dict[Section, tuple[np.ndarray, Words]] = {}
        for section, own in keys.items():
            table = self._table[section.pair] if section.kind == "pieces" else tables[section.kind]
            party = section.party(rank)
            assert party is not None
            halves[section] = self._half(own, section, party, table, np.repeat(taken, section.count))
        messages = {}
        for party in range(2):
            pair = (rank + party) % 3
            sections = [section for section in form.sections if section.pair == pair]
            if sections:
                messages[pair] = _masked(sections, halves, party, totals, replicated)
        for pair, message in messages.items():
            replicated.channel.send(pair + 1, message)
        self._help(form, rank, texts, tables, totals, replicated)
        return self._shared(form, texts, totals, replicated)

    def _sizes(self, form: Form, tables: Mapping[Kind, Words]) -> list[tuple[Kind, int, int]]:
        found: dict[Kind, tuple[Kind, int, int]] = {}
        for section in form.sections:
            columns = self.width if section.kind == "pieces" else tables[section.kind].shape[1]
            found[section.kind] = (section.kind, section.count, columns)
        return list(found.values())

    def _half(
        self, keys: Keys, section: Section, party: int, table: Words, taken: np.ndarray
    ) -> tuple[np.ndarray, Words]:
        """The bit that says f, and f times the sum of chosen rows."""
        flips, sums = np.empty(len(keys), np.uint8), np.zeros((len(keys), table.shape[1]), np.uint64)
        for span, bits in stretched(keys, section, party):
            bits[~taken[span]] = 0
            flips[span] = _flips(ones(bits), party)
            self._add(bits, table, sums[span])
        np.negative(sums, out=sums, where=flips[:, None].astype(bool))
        return flips, sums

    def _add(self, bits: Bits, table: Words, result: Words) -> None:
        columns = table.shape[1]
        if self._pool is None:
            return chosen_rows(bits, table, result, 0, columns)
        bounds = [columns * i // self._threads for i in range(self._threads + 1)]
        list(self._pool.map(lambda a, b: chosen_rows(bits, table, result, a, b), bounds[:-1], bounds[1:]))

    def _help(
        self,
        form: Form,
        rank: int,
        texts: int,
        tables: Mapping[Kind, Words],
        totals: Mapping[Kind, Words],
        replicated: Replicated,
    ) -> None:
        """As the third party of the pair before."""
        pair = (rank - 1) % 3
        sections = [section for section in form.sections if section.pair == pair]
        if not sections:
            return
        counts = [texts * section.count for section in sections]
        sizes = [totals[section.kind].size for section in sections]
        packed = -(-sum(counts) // 8)
        (first_flips, first), (second_flips, second) = (
            _opened(replicated.channel.receive(sender, packed + 8 * sum(sizes)), packed, sum(counts))
            for sender in (rank - 1, rank + 1)
        )
        row = start = 0
        for section, count, size in zip(sections, counts, sizes, strict=True):
            shape = totals[section.kind].shape
            rows, span = slice(row, row + count), slice(start, start + size)
            totals[section.kind][...] += _flipped(first[span].reshape(shape), second_flips[rows])
            totals[section.kind][...] -= _flipped(second[span].reshape(shape), first_flips[rows])
            row, start = row + count, start + size

    def _shared(self, form: Form, texts: int, totals: Mapping[Kind, Words], replicated: Replicated) -> dict[str, Words]:
        """Summands as replicated shares, by activation."""
        shape = (texts, form.length)
        found = {"rows": totals["pieces"].reshape(*shape, self.width)}
        end = 0
        for name in form.activations:
            if name in form.by_length:
                start, end = end, end + form.by_length[name].shape[1]
                found[name] = totals["lengths"][:, start:end]
        if form.separator is not None:
            found["segment"] = totals["lengths"][:, end:] - totals["separators"]
        names = list(form.activations)
        shared = replicated.share_again([found[name] for name in names])
        return dict(zip(names, shared, strict=True))


def _tables(form: Form, fraction_bits: int) -> dict[Kind, Words]:
    """What is public: of a length what it makes of each row, for each activation, and then, where there are segments,
    which places have pieces; of a separator's place, which are not after it.
    """
    places = np.arange(form.length)
    by_length = [form.by_length[name] for name in form.activations if name in form.by_length]
    if form.separator is not None:
        by_length.append(np.tri(form.length))
    found: dict[Kind, Words] = {}
    found["lengths"] = encode(np.concatenate([np.empty((form.length, 0)), *by_length], axis=1), fraction_bits)
    if form.separator is not None:
        found["separators"] = encode(places <= places[:, None], fraction_bits)
    return found


def _flips(counts: np.ndarray, party: int) -> np.ndarray:
    low, high = counts & 1, counts >> 1 & 1
    return np.asarray((1 ^ low ^ high) if party == 0 else high, np.uint8)


def _flipped(words: Words, flips: np.ndarray) -> Words:
    return np.where(flips[:, None].astype(bool), np.uint64(0) - words, words)


def _masked(
    sections: Sequence[Section],
    halves: Mapping[Section, tuple[np.ndarray, Words]],
    party: int,
    totals: Mapping[Kind, Words],
    replicated: Replicated,
) -> bytes:
    """What one of a pair sends the third party; its own part of the result is added to the totals."""
    stream = replicated.stream(sections[0].pair)
    sizes = [halves[section][1].size for section in sections]
    masks = [stream.words(sum(sizes)) for _ in range(2)]  # of the first, of the second
    flips, values, start = [], [], 0
    for section, size in zip(sections, sizes, strict=True):
        own, words = halves[section]
        mine, other = (masks[p][start : start + size].reshape(words.shape) for p in (party, 1 - party))
        flips.append(own)
        values.append((words + mine).reshape(-1))
        kept = _flipped(other, own)
        if party == 0:
            totals[section.kind][...] += kept
        else:
            totals[section.kind][...] -= kept
        start += size
    return np.packbits(np.concatenate(flips)).tobytes() + np.concatenate(values).tobytes()


def _opened(message: bytes, packed: int, count: int) -> tuple[np.ndarray, Words]:
    flips = np.unpackbits(np.frombuffer(message, np.uint8, packed), count=count)
    return flips, np.frombuffer(message, np.uint8)[packed:].copy().view(np.uint64)
