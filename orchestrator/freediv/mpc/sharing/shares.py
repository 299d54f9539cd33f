"""Secret shares of arrays: made by an owner, held by a party, joined by an owner.

Sharing is additive in the ring of 64 bits: x = x_0 + x_1 + ... mod 2^64, all words but x_0 pure randomness. Under ABY3
(replicated sharing, Araki et al., CCS 2016) party i holds (x_i, x_i+1); elsewhere party i holds x_i. A word that is
pure randomness travels, and lies on disk, as the 16-byte key that AES-128 in counter mode stretches to it. What SPU
computes may also be shared by exclusive or, in as many bits as it needs (a comparison in one); under ABY3 in words held
twice, as well.

Who joins shares compares every word that two parties hold, so that under ABY3 no party alone can make another number of
what was computed by changing its share of that. SEMI2K and CHEETAH hold nothing twice: one changed bit of a share is
another number there, and nothing shows it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..spu_library import libspu, spu
from .settings import ProtocolSettings
from .spu_form import chunked, content_of, numbers_meta, value_meta

SEED_BYTES = 16
"""Of the key that a word of pure randomness travels as."""
_ELEMENT_BYTES = {"FM64": 8, "FM128": 16}
_STORED_AS = {"ABY3": "aby3.AShr", "SEMI2K": "semi2k.AShr", "CHEETAH": "cheetah.AShr"}


Part = Literal["seed", "words", "spu"]


class _Meta(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    storage_type: str = Field(default="", max_length=64)
    shape: tuple[int, ...] = Field(max_length=8)
    parts: tuple[Part, ...] = Field(min_length=1, max_length=4096)
    spu: str = Field(
        default="", max_length=1024, description="SPU's own meta, hexadecimal, where all parts are SPU's chunks"
    )


@dataclass(frozen=True)
class Share:
    """One party's share of one array, as bytes that travel and are stored as they are.

    Two shares of an array together (ABY3) or all of them (otherwise) give the array away: never log one.
    """

    meta: bytes = field(repr=False)
    chunks: tuple[bytes, ...] = field(repr=False)

    def __repr__(self) -> str:
        return f"Share({self.nbytes} bytes)"

    @property
    def nbytes(self) -> int:
        """Bytes that it takes to send or store."""
        return len(self.meta) + sum(map(len, self.chunks))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that is shared."""
        return self._read_meta.shape

    @property
    def described(self) -> tuple[object, ...]:
        """What all parties say alike of their shares of an array."""
        meta = self._read_meta
        return meta.storage_type, meta.shape, meta.spu

    @functools.cached_property
    def _read_meta(self) -> _Meta:
        try:
            meta = _Meta.model_validate_json(self.meta)
        except ValidationError:
            raise ValueError("a share's description cannot be read") from None
        mixed = "spu" in meta.parts and set(meta.parts) != {"spu"}
        if mixed or len(meta.parts) != len(self.chunks) or any(not 0 <= n < 1 << 36 for n in meta.shape):
            raise ValueError("a share's description contradicts itself")
        return meta

    def check(self, shape: tuple[int, ...], settings: ProtocolSettings) -> None:
        """Refuse a share from outside that is not one of float32 numbers of this shape under these settings.

        One that passes can be read: nothing that is done with it later fails. In the ring of 64 bits only seeds and
        words pass; elsewhere SPU's own form, whose description has to be the very bytes that SPU writes for this shape.
        So what SPU's parser reads is never of an owner's making.

        Raises:
            ValueError: says what differs.
        """
        meta = self._read_meta
        if meta.shape != tuple(shape):
            raise ValueError(f"a share of shape {list(meta.shape)} came where {list(shape)} is needed")
        held = 2 if settings.name == "ABY3" else 1
        words = settings.field == "FM64"  # of other rings the owner has none but what SPU's sharing gave it
        sound = len(meta.parts) == held and "spu" not in meta.parts if words else set(meta.parts) == {"spu"}
        if not sound or meta.storage_type != _storage_type(settings):
            raise ValueError(f"the share is not one of {settings.name}, {settings.field}")
        if not words:
            if meta.spu != numbers_meta(meta.storage_type, meta.shape).hex():
                raise ValueError(f"the share is not one of {settings.name}, {settings.field}")
            if len(content_of(self.chunks)) != held * _ELEMENT_BYTES[settings.field] * math.prod(shape):
                raise ValueError("the share holds another number of bytes than its shape says")
            return
        for part, chunk in zip(meta.parts, self.chunks, strict=True):
            if len(chunk) != (SEED_BYTES if part == "seed" else 8 * math.prod(shape)):
                raise ValueError("the share holds another number of bytes than its shape says")

    def words(self) -> tuple[np.ndarray, ...]:
        """The ring elements that this party holds: uint64 arrays of the shared array's shape (ABY3: x_i and x_i+1)."""
        meta = self._read_meta
        if self.in_spu_form:
            return self._words_from_spu(meta)
        count = math.prod(meta.shape)
        found = []
        for part, chunk in zip(meta.parts, self.chunks, strict=True):
            word = _stretch(chunk, count) if part == "seed" else np.frombuffer(chunk, "<u8")
            if len(word) != count:
                raise ValueError("the share holds another number of bytes than its shape says")
            found.append(word.reshape(meta.shape))
        return tuple(found)

    def _words_from_spu(self, meta: _Meta) -> tuple[np.ndarray, ...]:
        kind, _, ring = meta.storage_type.partition("<")
        if kind not in _STORED_AS.values() or ring != "FM64>":
            raise ValueError(f"a share stored as {meta.storage_type} has no 64-bit words")
        content = content_of(self.chunks)
        held = 2 if kind == _STORED_AS["ABY3"] else 1
        table = np.frombuffer(content, "<u8").reshape(*meta.shape, held)
        return tuple(np.ascontiguousarray(table[..., i]) for i in range(held))

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Under ABY3, the two words of each element that this party holds, as they are: of any ring, or of bits.

        Raises:
            ValueError: it does not hold two.
        """
        meta = self._read_meta
        if meta.parts[0] != "spu":
            first, second = self.words()
            return first, second
        content, count = content_of(self.chunks), math.prod(meta.shape)
        if not meta.storage_type.startswith("aby3.") or count == 0 or len(content) % (2 * count):
            raise ValueError("a share does not hold two words for each element")
        table = np.frombuffer(content, np.uint8).reshape(count, 2, -1)
        return table[:, 0], table[:, 1]

    @property
    def in_spu_form(self) -> bool:
        """Whether it is as SPU gave it."""
        return "spu" in self._read_meta.parts

    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each word that this party holds, as it came."""
        parts = zip(self._read_meta.parts, self.chunks, strict=True)
        return tuple(hashlib.sha256(part.encode() + b"/" + chunk).digest() for part, chunk in parts)

    def to_spu(self) -> libspu.Share:
        """The form that SPU's runtime takes."""
        meta = self._read_meta
        result = libspu.Share()
        if self.in_spu_form:
            result.meta, result.share_chunks = bytes.fromhex(meta.spu), list(self.chunks)
            return result
        words = self.words()
        table = words[0].reshape(-1)
        if len(words) > 1:
            table = np.stack([word.reshape(-1) for word in words], axis=1).reshape(-1)
        result.meta, result.share_chunks = numbers_meta(meta.storage_type, meta.shape), chunked(table)
        return result

    @classmethod
    def from_spu(cls, held: libspu.Share) -> Share:
        """What SPU's runtime or its sharing gives, as it is."""
        value = value_meta(held.meta)
        chunks = tuple(held.share_chunks)
        parts: tuple[Part, ...] = tuple("spu" for _ in chunks)
        shape = tuple(value.shape.dims)
        meta = _Meta(storage_type=value.storage_type, shape=shape, parts=parts, spu=held.meta.hex())
        return cls(meta.model_dump_json(exclude_defaults=True).encode(), chunks)


def share(
    array: np.ndarray, settings: ProtocolSettings = ProtocolSettings(), *, seeds: Sequence[bytes] | None = None
) -> list[Share]:
    """Share an array of numbers.

    Args:
        array: of any shape; taken as fixed-point numbers, rounded to the nearest multiple of 2^-fraction_bits.
        settings: the protocol, its ring and parties.
        seeds: the randomness to share with: a key of 16 bytes for each word but the first, secret, and never used for
            another array, whose difference from this one a party would see. None: fresh keys.

    Returns:
        One share per party, by rank. Under ABY3 and FM64 ranks 0 and 2 get 8 bytes an element, rank 1 two keys.

    Raises:
        ValueError: a number is not finite or too large for the ring; other seeds than are needed.
    """
    numbers = np.asarray(array, np.float64)
    scaled = np.rint(numbers * 2.0**settings.fraction_bits)
    if not np.all(np.abs(scaled) < 2.0**61):  # also false for NaN
        raise ValueError("an array to be shared holds a number that is not finite or too large for the ring")
    if settings.field != "FM64":
        if seeds is not None:
            raise ValueError(f"shares in {settings.field} are made with SPU's own randomness, not with seeds")
        exact = np.asarray(array, np.float32)
        return [Share.from_spu(s) for s in _spu_io(settings).make_shares(exact, spu.Visibility.VIS_SECRET)]
    drawn = settings.parties - 1
    if seeds is None:
        seeds = [secrets.token_bytes(SEED_BYTES) for _ in range(drawn)]
    if len(seeds) != drawn:
        raise ValueError(f"{settings.parties} parties' shares are made with {drawn} seeds, not {len(seeds)}")
    word = scaled.astype(np.int64).view(np.uint64).reshape(-1)
    for seed in seeds:
        word -= _stretch(seed, word.size)
    everything: list[tuple[Part, bytes]] = [("words", word.tobytes()), *(("seed", seed) for seed in seeds)]
    shares = []
    for rank in range(settings.parties):
        ranks = (rank, (rank + 1) % 3) if settings.name == "ABY3" else (rank,)
        mine = [everything[r] for r in ranks]
        meta = _Meta(storage_type=_storage_type(settings), shape=numbers.shape, parts=tuple(part for part, _ in mine))
        shares.append(Share(meta.model_dump_json(exclude_defaults=True).encode(), tuple(chunk for _, chunk in mine)))
    return shares


def reconstruct(shares: list[Share], settings: ProtocolSettings = ProtocolSettings()) -> np.ndarray:
    """The array that was shared, or computed: numbers, labels or bits.

    Args:
        shares: one per party, by rank.
        settings: those that they were shared under.

    Raises:
        ValueError: the shares do not belong together; under ABY3 that is so if a single bit of one was changed. Other
            protocols hold nothing twice, and a changed bit makes another array.
        UserError: there are more or fewer than the settings' parties.
    """
    settings.insist_on_parties(len(shares))
    if len({s.described for s in shares}) != 1:
        raise ValueError("the shares are not of one array")
    if settings.name == "ABY3":
        _compare([s.halves() for s in shares])
    own = not any(s.in_spu_form for s in shares)
    if own and settings.field == "FM64" and shares[0]._read_meta.storage_type == _storage_type(settings):
        return _numbers(_sum([s.words() for s in shares]), settings.fraction_bits)
    held = [s.to_spu() for s in shares]
    if len({_spu_meta(h) for h in held}) != 1:
        raise ValueError("the shares are not of one array")
    value = value_meta(held[0].meta)
    if value.storage_type == _storage_type(settings) and settings.field == "FM64":
        total = _sum([s.words() for s in shares])
        numbers = value.data_type in (libspu.DataType.DT_F32, libspu.DataType.DT_F64)
        return _numbers(total, settings.fraction_bits) if numbers else total.astype(np.int32)
    try:
        result: np.ndarray = _spu_io(settings).reconstruct(held)
    except RuntimeError as error:
        raise ValueError(f"the shares cannot be joined ({_first_line(error)})") from None
    return result


def join_rows(shares: Sequence[Share]) -> Share:
    """One share of arrays one below the other, whose other dimensions are alike. One alone stays as it is.

    Raises:
        ValueError: the shares are not alike, or not in the ring of 64 bits.
    """
    if len(shares) == 1:
        return shares[0]
    first = shares[0]._read_meta
    if shares[0].in_spu_form:
        rows = sum(own.shape[0] for own in shares)
        return _with_content(first, rows, b"".join(content_of(own.chunks) for own in shares))
    return _of_words(first, [np.concatenate(held) for held in zip(*(own.words() for own in shares), strict=True)])


def split_rows(joined: Share, rows: Sequence[int]) -> list[Share]:
    """The shares of parts of an array that lie one below the other, of so many rows each.

    Raises:
        ValueError: the array has another number of rows.
    """
    meta = joined._read_meta
    content = content_of(joined.chunks) if joined.in_spu_form else b""
    if sum(rows) != meta.shape[0] or len(content) % meta.shape[0]:
        raise ValueError(f"an array of shape {list(meta.shape)} does not fall into {', '.join(map(str, rows))} rows")
    bounds = np.cumsum([0, *rows])
    if content:
        of_a_row = len(content) // meta.shape[0]
        pieces = [content[start * of_a_row : stop * of_a_row] for start, stop in itertools.pairwise(bounds)]
        return [_with_content(meta, count, piece) for count, piece in zip(rows, pieces, strict=True)]
    words = joined.words()
    return [_of_words(meta, [word[start:stop] for word in words]) for start, stop in itertools.pairwise(bounds)]


def _of_words(like: _Meta, words: Sequence[np.ndarray]) -> Share:
    """A share of other rows than the one that it is like."""
    parts: tuple[Part, ...] = tuple("words" for _ in words)
    meta = _Meta(storage_type=like.storage_type, shape=words[0].shape, parts=parts)
    return Share(meta.model_dump_json(exclude_defaults=True).encode(), tuple(word.tobytes() for word in words))


def _with_content(like: _Meta, rows: int, content: bytes) -> Share:
    """A share in SPU's form, of other rows than the one that it is like."""
    held, value = libspu.Share(), value_meta(bytes.fromhex(like.spu))
    value.shape = [rows, *like.shape[1:]]
    held.meta, held.share_chunks = value.SerializeToString(), chunked(np.frombuffer(content, np.uint8))
    return Share.from_spu(held)


def zero_rows(shape: tuple[int, ...], settings: ProtocolSettings) -> Share:
    """One party's share of float32 numbers, with nothing but zeros in it."""
    parts: tuple[Part, ...] = ("words", "words") if settings.name == "ABY3" else ("words",)
    meta = _Meta(storage_type=_storage_type(settings), shape=shape, parts=parts)
    return Share(meta.model_dump_json(exclude_defaults=True).encode(), (bytes(8 * math.prod(shape)),) * len(parts))


def _storage_type(settings: ProtocolSettings) -> str:
    return f"{_STORED_AS[settings.name]}<{settings.field}>"


def _compare(held: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Insist that parties hold the same where they hold the same word: (x_i, x_i+1) by rank."""
    for rank, (_, word) in enumerate(held):
        after = (rank + 1) % len(held)
        if not np.array_equal(word, held[after][0]):
            raise ValueError(f"what ranks {rank} and {after} hold in common differs")


def _sum(words: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    return np.sum([held[0] for held in words], axis=0, dtype=np.uint64).view(np.int64)


def _numbers(total: np.ndarray, fraction_bits: int) -> np.ndarray:
    return (total / 2.0**fraction_bits).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _spu_io(settings: ProtocolSettings) -> spu.Io:
    quiet = libspu.logging.LogOptions()
    quiet.enable_console_logger, quiet.system_log_path = False, os.devnull
    libspu.logging.setup_logging(quiet)
    return spu.Io(settings.parties, settings.runtime_config())


def _stretch(seed: bytes, count: int) -> np.ndarray:
    """The `count` uint64 words that a 16-byte seed stands for: AES-128 in counter mode, from counter 0."""
    if len(seed) != SEED_BYTES:
        raise ValueError("a share's seed has another length than 16 bytes")
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * count)), "<u8")


def _spu_meta(held: libspu.Share) -> bytes:
    serialised: bytes = value_meta(held.meta).SerializeToString()
    return serialised


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and line.strip() != "what:"]
    return lines[0] if lines else type(error).__name__
