"""The bytes of a share in SPU's own form: its description, and chunks of its content.

Chunks are read here, so that no parser of SPU's meets what came from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..spu_library import libspu

_CHUNK_BYTES = 32 << 20  # bounds the copies that SPU's protobuf makes
_LONGEST_VARINT = 5  # more is no number of bytes that a chunk has


def chunked(table: np.ndarray) -> list[bytes]:
    """The content of a value as SPU's `ValueChunkProto`s: total_bytes = 1, chunk_offset = 2, content = 3."""
    content = table.view(np.uint8)
    starts = range(0, len(content), _CHUNK_BYTES)
    pieces = ((start, content[start : start + _CHUNK_BYTES]) for start in starts)
    return [b"".join((_head(len(content), start), _varint(len(piece)), piece.data)) for start, piece in pieces]


def content_of(chunks: Sequence[bytes]) -> bytes:
    """What SPU's chunks hold together; each says, as SPU writes it, where in the whole its part lies.

    Raises:
        ValueError: a chunk is framed otherwise, or not in its place.
    """
    total = _total(chunks[0]) if chunks else 0
    pieces: list[bytes] = []
    start = 0
    for chunk in chunks:
        head = _head(total, start)
        length, begin = _read_varint(chunk, len(head))
        if not chunk.startswith(head) or begin + length != len(chunk):
            raise ValueError("a share's chunk cannot be read")
        pieces.append(chunk[begin:])
        start += length
    if start != total:
        raise ValueError("a share's chunk cannot be read")
    return b"".join(pieces)


def _total(chunk: bytes) -> int:
    if not chunk.startswith(b"\x08"):
        raise ValueError("a share's chunk cannot be read")
    return _read_varint(chunk, 1)[0]


def _head(total: int, start: int) -> bytes:
    """What goes before the length of a chunk's content."""
    return b"\x08" + _varint(total) + (b"\x10" + _varint(start) if start else b"") + b"\x1a"


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def _read_varint(content: bytes, start: int) -> tuple[int, int]:
    """The number that begins there, written in as few bytes as it takes, and where it ends."""
    number = 0
    for place, byte in enumerate(content[start : start + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80 and (byte or not place):
            return number, start + place + 1
    raise ValueError("a share's chunk cannot be read")


def numbers_meta(storage_type: str, shape: tuple[int, ...]) -> bytes:
    """SPU's description of secret float32 numbers."""
    value = libspu.ValueMeta()
    value.data_type, value.visibility = libspu.DataType.DT_F32, libspu.Visibility.VIS_SECRET
    value.storage_type = storage_type
    if shape:  # of a single number SPU leaves it out
        value.shape = list(shape)
    serialised: bytes = value.SerializeToString()
    return serialised


def value_meta(serialised: bytes) -> Any:
    """SPU's description of a share.

    Raises:
        ValueError: it is none.
    """
    value = libspu.ValueMeta()
    if not value.ParseFromString(serialised):
        raise ValueError("a share's description cannot be read")
    return value
