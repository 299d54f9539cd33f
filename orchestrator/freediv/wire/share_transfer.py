"""Shares on the wire: a description, then the bytes of its chunks in small messages.

A receiver checks what a description claims against what the public architecture asks for before it takes any memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

from ..mpc.sharing.shares import Share
from . import protocol_pb2 as pb

PIECE_BYTES = 1 << 18
"""Of one data message: large enough to be cheap, small enough to share a connection."""
MOST_CHUNKS = 4096
MOST_BUNDLE = 1 << 28
"""Bytes of a model's public bundle, all of which a receiver holds in memory."""
MOST_PARAMETER = 1 << 31
"""Bytes of one parameter's share, likewise."""
_MOST_META = 1 << 16


class BadTransfer(ValueError):  # noqa: N818 (an event, not a mistake)
    """What came is not what its header said, or is not allowed; says what and why."""


def describe(name: str, share: Share, *, stage: str = "") -> pb.ShareDescription:
    """The description that goes before a share's bytes."""
    return pb.ShareDescription(
        stage=stage, name=name, meta=share.meta, chunk_bytes=[len(chunk) for chunk in share.chunks]
    )


def pieces(chunks: Sequence[bytes]) -> Iterator[bytes]:
    """The bytes of all chunks, one after another, in pieces; a piece never spans two chunks."""
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), PIECE_BYTES):
            yield bytes(view[start : start + PIECE_BYTES])


def announced_bytes(description: pb.ShareDescription, most: int) -> int:
    """Bytes that a description announces.

    Raises:
        BadTransfer: more than `most`, or too many chunks.
    """
    if len(description.chunk_bytes) > MOST_CHUNKS or len(description.meta) > _MOST_META:
        raise BadTransfer(f"the share of {description.name} has a description that is too long")
    total = sum(description.chunk_bytes)
    if total > most:
        raise BadTransfer(f"the share of {description.name} would be {total} bytes; its shape allows {most}")
    return total


class StreamEnded(BadTransfer):
    """The stream was over before all of it had come, as when a connection is cut."""


class Incoming:
    """The data messages of a stream, put together again.

    Args:
        messages: the stream after its header; each has a oneof `content`.
        seconds: how long to wait for one message.
    """

    def __init__(self, read: Callable[[], Awaitable[Any]]) -> None:
        self._read = read

    async def message(self, kind: str) -> Any:
        """The next message, which has to be of this kind.

        Raises:
            StreamEnded: none came.
            BadTransfer: another kind came.
        """
        message = await self._read()
        if message is None:
            raise StreamEnded(f"expected {kind}, got the end of the stream")
        if (found := message.WhichOneof("content")) != kind:
            raise BadTransfer(f"expected {kind}, got {found or 'nothing'}")
        return getattr(message, kind)

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        content = bytearray()  # grows with what comes, however small the pieces are
        while missing := count - len(content):
            data = await self.message("data")
            if not data or len(data) > missing:
                raise BadTransfer(f"{len(data)} bytes came where {missing} were missing")
            content += data
        return bytes(content)

    async def share(self, description: pb.ShareDescription) -> Share:
        """The share that was described."""
        return Share(description.meta, tuple([await self.exactly(count) for count in description.chunk_bytes]))

    async def end(self) -> None:
        """Insist that nothing more comes."""
        if await self._read() is not None:
            raise BadTransfer("more came than was announced")


async def collect(messages: AsyncIterator[Any], count: int) -> bytes:
    """`count` bytes from data messages that a server sends."""
    parts, missing = [], count
    async for message in messages:
        if message.WhichOneof("content") != "data" or len(message.data) > missing:
            raise BadTransfer("the party sent something else than it announced")
        parts.append(message.data)
        missing -= len(message.data)
        if not missing:
            break
    if missing:
        raise BadTransfer(f"the party stopped {missing} bytes before the end")
    return b"".join(parts)
