"""Products of replicated shares between the parties: truncated and shared again, in two rounds and four messages.

Three parties hold a number x as words x_0 + x_1 + x_2 = x mod 2^64, party i the words (x_i, x_i+1) (Araki et al., CCS
2016). Any sum of products of such numbers can be computed up to one summand z_i at each party, without a message
(`products`). What is left is done here for any number of elements at once: from the summands of z, with |z| < 2^62,
replicated shares of z / 2^f, rounded up or down at random with z / 2^f as the mean.

**Protocol.** Party i and i-1 share a key, that of word i, drawn anew for each link; what it gives (AES-128 in counter
mode) is used once. One party opens, the next two help; the roles rotate. With s_j the stream of the key of word j,
counted from the opener:
1. Both helpers take a mask r and a random part w of z from s_2. The first sends z_1 + r, the second z_2 - r - w, so the
   opener has u = z + 2^62 - w. With u + w = z + 2^62 + c 2^64, the wrap is c = a or b = a + b - a b, where a and b are
   the top bits of u and w, because z + 2^62 has top bit 0.
2. What no party may know alone is a b. It needs f bits: c 2^64 / 2^f counts mod 2^64. Of two random bits the opener
   knows both, e_1 from s_1 with the first helper and e_2 from s_0 with the second. With rho and m from s_2 the first
   helper sends, in the same message, X_1 = e_1 b + rho, and the second X_2 = e_2 b - m - (1 - 2 e_2) rho, so that the
   opener has (1 - 2 e_2) X_1 + X_2 = e b - m for e = e_1 xor e_2: an oblivious transfer of b by a random choice.
3. The opener sends d = a xor e to both helpers. As a b = d b + (1 - 2 d) e b, the wrap's words follow:
       y_2 = ceil(w / 2^f) - (b - d b - (1 - 2 d) m) 2^(64-f)                            (both helpers)
       y_1 from s_1                                                            (opener and first helper)
       y_0 = floor(u / 2^f) - (a - (1 - 2 d) (e b - m)) 2^(64-f) - 2^(62-f) - y_1
   of which the opener sends y_0 to the second helper.

**Rounding.** Let z leave the rest t when divided by 2^f, 0 <= t < 2^f. Of u and w, one is rounded down and one up, so
that the result is z / 2^f + ([q > 0] 2^f - p - q) / 2^f for their rests p and q, of which q is uniform, as w is, and
p + q = t or t + 2^f. For t = 0 that is p = q = 0 or p = 2^f - q: a multiple of 2^f is divided exactly, always. For
t > 0 the result is z / 2^f rounded up if 1 <= q <= t, and rounded down otherwise: up with probability t / 2^f, so that
the mean is z / 2^f exactly, and the error less than a unit.

An element costs 192 + 2 f + 2 bits over all parties, what Araki's multiplication alone takes and 2 f + 2 more; SPU
0.9.5 sends 416 in eight messages and three rounds for the same.

**Security**: semi-honest, one corrupted party. Every message is masked by a stream that its receiver does not have: the
opener's two by (r, w, rho, m), the bit d by e_2 for the first helper and by e_1 for the second, y_0 by y_1. So each
party's view is uniformly random whatever the inputs, up to telling AES from random; y_1, y_2 (from w) and y_0 are
fresh. Rounding sends nothing: each party rounds what it has. Which way a number went depends on z and w alone, with the
probabilities above, and shows, if at all, in the last bit of what the parties' owners reveal.

**Sources**: the wrap from known top bits: Dalskov, Escudero and Keller, PoPETs 2020, 3.2.2, and Huang et al. (Cheetah),
USENIX Security 2022, 5.1; SPU's `TruncAPr2` follows Guo et al., USENIX Security 2025. Multiplying, truncating and
sharing again at once: Mohassel and Rindal (ABY3), CCS 2018, 5.1.2, there with dealt pairs. The transfer in step 2,
whose choice is split between the two senders, is put together here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ..link.failures import ProgramMismatch
from ..records import Traffic
from . import truncation
from .products import Words

MANY = 1 << 17
"""Elements from which on the work is cut in three: a megabyte to a link takes longer than two more messages."""
_KEY_BYTES = 16
_ZEROS = bytes(1 << 20)


class Channel:
    """Messages to the other parties over a link context that nothing else uses, and their count."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self.rank: int = link.rank
        self._traffic = Traffic()

    def send(self, rank: int, message: bytes) -> None:
        """Send without waiting for the receiver."""
        self._link.send_async(rank % 3, message)
        self._traffic += Traffic(sent_bytes=len(message), sent_messages=1)

    def receive(self, rank: int, size: int) -> bytes:
        """The next message of a party.

        Args:
            rank: whose.
            size: bytes that are due.

        Raises:
            ProgramMismatch: another number came.
            RuntimeError: SPU's, when nothing came in time.
        """
        message: bytes = self._link.recv(rank % 3)
        if len(message) != size:
            raise ProgramMismatch(
                f"party {rank % 3} sent {len(message)} bytes where {size} are due: it runs another step"
            )
        self._traffic += Traffic(received_bytes=size, received_messages=1)
        return message

    def take_traffic(self) -> Traffic:
        """What was sent and received since the last call."""
        taken, self._traffic = self._traffic, Traffic()
        return taken


class Stream:
    """Random words that both holders of a key draw in the same order, none of them twice."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def words(self, count: int) -> Words:
        """The next `count` words, uint64."""
        drawn = np.empty(count, np.uint64)
        raw = memoryview(drawn.view(np.uint8).data)
        for start in range(0, 8 * count, len(_ZEROS)):
            piece = raw[start : start + len(_ZEROS)]
            self._cipher.update_into(memoryview(_ZEROS)[: len(piece)], piece)
        return drawn

    def bits(self, count: int) -> np.ndarray:
        """The next `count` bits, one uint8 each; draws whole words."""
        return np.unpackbits(self.words(-(-count // 64)).view(np.uint8), count=count)


class Replicated:
    """One party's end of the protocol. Constructed by all three at once; calls come in the same order everywhere.

    Attributes:
        channel: what it sends over.
    """

    def __init__(self, link: Any) -> None:
        if link.world_size != 3:
            raise ValueError("replicated shares are held by three parties")
        self.channel = Channel(link)
        self.rank = self.channel.rank
        self._turn = 0
        own = secrets.token_bytes(_KEY_BYTES)
        self.channel.send(self.rank - 1, own)
        next_one = self.channel.receive(self.rank + 1, _KEY_BYTES)
        self._streams = {self.rank: Stream(own), (self.rank + 1) % 3: Stream(next_one)}

    def stream(self, word: int) -> Stream:
        """What this party has in common with the other holder of a word: both draw from it in the same order.

        Raises:
            KeyError: this party does not hold that word.
        """
        return self._streams[word]

    def share_again(self, summands: Sequence[Words]) -> list[Words]:
        """Replicated shares of numbers that are held as summands, as they are: a message to the party before.

        Each adds its part of a fresh sharing of zero, F(k_i) - F(k_i+1) (Araki et al., CCS 2016), to what it sends.

        Args:
            summands: this party's of each array, uint64.

        Returns:
            For each array its two words at this party, uint64 [2, *shape].

        Raises:
            ProgramMismatch: another party sent what does not fit.
        """
        flat = np.concatenate([np.empty(0, np.uint64), *(np.ravel(s) for s in summands)])
        own, after = (self._streams[word % 3].words(flat.size) for word in (self.rank, self.rank + 1))
        own += flat
        own -= after
        self.channel.send(self.rank - 1, own.tobytes())
        came = np.frombuffer(self.channel.receive(self.rank + 1, own.nbytes), np.uint64)
        ends = np.cumsum([s.size for s in summands])[:-1]
        parts = zip(summands, np.split(own, ends), np.split(came, ends), strict=True)
        return [np.stack([first, second]).reshape(2, *s.shape) for s, first, second in parts]

    def truncate(self, summands: Sequence[Words], shifts: Sequence[int]) -> list[Words]:
        """Replicated shares of numbers that are held as summands, divided by powers of two.

        Few numbers take four messages, one party opening for all; many are cut in three parts, for which each party
        opens one, so that all links carry the same at the same time.

        Args:
            summands: this party's of each array, uint64; all three add up to the numbers, within (-2^62, 2^62).
            shifts: bits to drop of each, 1 to 32.

        Returns:
            For each array its two words at this party, uint64 [2, *shape].

        Raises:
            ProgramMismatch: another party sent what does not fit.
        """
        if any(not 1 <= shift <= truncation.MAX_SHIFT for shift in shifts):
            raise ValueError("a truncation drops 1 to 32 bits")
        flat = [np.ascontiguousarray(s).reshape(-1) for s in summands]
        parts = 1 if sum(s.size for s in flat) < MANY else 3
        lanes: list[_Opener | _Helper] = []
        for part in range(parts):
            work = _Work([s[_third(s, part, parts)] for s in flat], shifts)
            role = (self.rank - self._turn) % 3
            make = _Opener if role == 0 else _Helper
            lanes.append(make(self.channel, self._turn, self._streams, work))
            self._turn = (self._turn + 1) % 3
        for lane in lanes:
            lane.mask()
        for lane in lanes:
            lane.open()
        finished = [lane.finish() for lane in lanes]
        results = [np.empty((2, s.size), np.uint64) for s in flat]
        for part, (words, lane) in enumerate(zip(finished, lanes, strict=True)):
            for s, result, span in zip(flat, results, lane.work.spans, strict=True):
                for plane in range(2):
                    result[plane, _third(s, part, parts)] = words[plane][span]
        return [result.reshape(2, *s.shape) for s, result in zip(summands, results, strict=True)]


def _third(array: Words, part: int, parts: int) -> slice:
    return slice(array.size * part // parts, array.size * (part + 1) // parts)


class _Work:
    """Arrays that are truncated together, and where each lies in what is drawn and sent for all of them."""

    def __init__(self, summands: Sequence[Words], shifts: Sequence[int]) -> None:
        self._summands, self._shifts = summands, shifts
        self.spans: list[slice] = []
        self._words: list[slice] = []
        self._fields: list[slice] = []
        self.count = self.masked_words = 0
        for summand, shift in zip(summands, shifts, strict=True):
            fields = self.masked_words + summand.size
            self.spans.append(slice(self.count, self.count + summand.size))
            self._words.append(slice(self.masked_words, fields))
            self.count += summand.size
            self.masked_words = fields + truncation.field_words(summand.size, shift)
            self._fields.append(slice(fields, self.masked_words))

    @property
    def packed_bytes(self) -> int:
        """Of a bit an element."""
        return -(-self.count // 8)

    def __iter__(self) -> Iterator[tuple[Words, int, slice, slice, slice]]:
        """Summand, shift, and its places among all elements, in the helpers' messages, and of its fields there."""
        return zip(self._summands, self._shifts, self.spans, self._words, self._fields, strict=True)


class _Opener:
    """What the opener does; its randomness is drawn at once, so that streams stay in step."""

    def __init__(self, channel: Channel, opener: int, streams: Mapping[int, Stream], work: _Work) -> None:
        self.work = work
        self._channel, self._rank = channel, opener
        shared_with_first, shared_with_second = streams[(opener + 1) % 3], streams[opener]
        self._own = shared_with_first.words(work.count)
        self._first_choice, self._second_choice = (
            shared_with_first.bits(work.count),
            shared_with_second.bits(work.count),
        )

    def mask(self) -> None:
        """Nothing: the helpers begin."""

    def open(self) -> None:
        """Take both helpers' messages, and answer them."""
        work = self.work
        first, second = (
            np.frombuffer(self._channel.receive(self._rank + i, 8 * work.masked_words), np.uint64) for i in (1, 2)
        )
        self._out, flips = np.empty(work.count, np.uint64), np.empty(work.count, np.uint8)
        for summand, shift, span, words, fields in work:
            truncation.open_and_split(
                summand, first[words], first[fields], second[words], second[fields],
                self._first_choice[span], self._second_choice[span], self._own[span], shift,
                self._out[span], flips[span],
            )  # fmt: skip
        packed = np.packbits(flips).tobytes()
        self._channel.send(self._rank + 2, self._out.tobytes() + packed)
        self._channel.send(self._rank + 1, packed)

    def finish(self) -> tuple[Words, Words]:
        """This party's two words."""
        return self._out, self._own


class _Helper:
    """What either helper does; its randomness is drawn at once, so that streams stay in step."""

    def __init__(self, channel: Channel, opener: int, streams: Mapping[int, Stream], work: _Work) -> None:
        self.work = work
        self._channel, self._opener = channel, opener
        self._is_first = (channel.rank - opener) % 3 == 1
        with_opener, between = streams[(opener + self._is_first) % 3], streams[(opener + 2) % 3]
        if self._is_first:
            self._own = with_opener.words(work.count)
        self._choice = with_opener.bits(work.count)
        self._mask, self._rest, self._pads = (between.words(work.count) for _ in range(3))

    def mask(self) -> None:
        """Send the opener this party's part of the numbers, and of the transfer."""
        kernel = truncation.mask_as_first if self._is_first else truncation.mask_as_second
        message = np.zeros(self.work.masked_words, np.uint64)
        for summand, shift, span, words, fields in self.work:
            kernel(
                summand, self._mask[span], self._rest[span], self._pads[span], self._choice[span], shift,
                message[words], message[fields],
            )  # fmt: skip
        self._channel.send(self._opener, message.tobytes())

    def open(self) -> None:
        """Nothing: that is the opener's."""

    def finish(self) -> tuple[Words, Words]:
        """Take the opener's answer; this party's two words."""
        work = self.work
        words = 0 if self._is_first else 8 * work.count
        answer = self._channel.receive(self._opener, words + work.packed_bytes)
        flips = np.unpackbits(np.frombuffer(answer, np.uint8)[words:], count=work.count)
        out = np.empty(work.count, np.uint64)
        for _, shift, span, _, _ in work:
            truncation.finish_as_helper(self._rest[span], self._pads[span], flips[span], shift, out[span])
        return (self._own, out) if self._is_first else (out, np.frombuffer(answer, np.uint64, work.count))


class _Memory(Channel):
    """A channel within one process."""

    def __init__(self, rank: int, messages: dict[tuple[int, int], bytes]) -> None:
        self.rank, self._messages = rank, messages

    def send(self, rank: int, message: bytes) -> None:
        self._messages[self.rank, rank % 3] = message

    def receive(self, rank: int, size: int) -> bytes:
        return self._messages.pop((rank % 3, self.rank))


def compile_ahead() -> None:
    """Compile what each role runs, or read it from disk, so that no request has to wait for that."""
    messages: dict[tuple[int, int], bytes] = {}
    work = _Work([np.zeros(1, np.uint64)], [1])
    lanes: list[_Opener | _Helper] = []
    for rank in range(3):
        streams = {word: Stream(bytes(_KEY_BYTES)) for word in (rank, (rank + 1) % 3)}
        lanes.append((_Helper if rank else _Opener)(_Memory(rank, messages), 0, streams, work))
    for lane in lanes:
        lane.mask()
    for lane in lanes:
        lane.open()
    for lane in lanes:
        lane.finish()
