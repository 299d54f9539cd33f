"""Shares in messages: whatever goes in comes out, and nothing else is taken."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from freediv.mpc.sharing.shares import Share, reconstruct, share
from freediv.wire import protocol_pb2 as pb
from freediv.wire.share_transfer import PIECE_BYTES, BadTransfer, Incoming, announced_bytes, collect, describe, pieces
from hypothesis import given
from hypothesis import strategies as st

CHUNKS = st.lists(st.binary(max_size=40), max_size=5)


def incoming(messages: list[Any]) -> Incoming:
    stream = iter(messages)

    async def read() -> Any:
        return next(stream, None)

    return Incoming(read)


def data(chunks: list[bytes]) -> list[pb.InferMessage]:
    return [pb.InferMessage(data=piece) for piece in pieces(chunks)]


@given(CHUNKS)
def test_chunks_come_out_as_they_went_in(chunks: list[bytes]) -> None:
    original = Share(b"meta", tuple(chunks))

    async def pass_through() -> Share:
        stream = incoming(data(chunks))
        received = await stream.share(describe("x", original))
        await stream.end()
        return received

    assert asyncio.run(pass_through()) == original


def test_large_chunks_travel_in_small_messages() -> None:
    chunk = bytes(range(256)) * 4096  # 1 MiB
    parts = list(pieces([chunk, b"tail"]))
    assert max(map(len, parts)) == PIECE_BYTES
    assert b"".join(parts) == chunk + b"tail"


def test_a_shared_array_survives_the_way() -> None:
    array = np.linspace(-3, 3, 60, dtype=np.float32).reshape(3, 20)

    async def pass_through(one: Share) -> Share:
        return await incoming(data(list(one.chunks))).share(describe("x", one))

    received = [asyncio.run(pass_through(one)) for one in share(array)]
    assert np.abs(reconstruct(received) - array).max() < 1e-5


@given(CHUNKS.filter(lambda chunks: sum(map(len, chunks)) > 0), st.integers(1, 3))
def test_a_stream_that_ends_early_is_refused(chunks: list[bytes], missing: int) -> None:
    original = Share(b"meta", tuple(chunks))
    messages = data(chunks)[:-missing]
    with pytest.raises(BadTransfer, match="end of the stream"):
        asyncio.run(incoming(messages).share(describe("x", original)))


def test_more_bytes_than_announced_are_refused() -> None:
    with pytest.raises(BadTransfer, match="5 bytes came where 4 were missing"):
        asyncio.run(incoming([pb.InferMessage(data=b"12345")]).exactly(4))
    with pytest.raises(BadTransfer, match="more came"):
        asyncio.run(incoming([pb.InferMessage(data=b"1")]).end())


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(BadTransfer):
        asyncio.run(incoming([pb.InferMessage(data=b"")] * 3).exactly(4))


def test_a_second_header_is_refused() -> None:
    with pytest.raises(BadTransfer, match="expected data, got header"):
        asyncio.run(incoming([pb.InferMessage(header=pb.InferHeader())]).exactly(4))


@pytest.mark.parametrize(
    "description",
    [
        pb.ShareDescription(name="x", chunk_bytes=[101]),
        pb.ShareDescription(name="x", chunk_bytes=[1] * 5000),
        pb.ShareDescription(name="x", meta=bytes(1 << 17)),
        pb.ShareDescription(name="x", chunk_bytes=[(1 << 64) - 1]),
    ],
)
def test_a_description_beyond_its_bounds_is_refused(description: pb.ShareDescription) -> None:
    with pytest.raises(BadTransfer):
        announced_bytes(description, 100)


def test_a_party_that_sends_too_little_or_something_else_is_noticed() -> None:
    async def stream(messages: list[pb.ModelMessage]) -> Any:
        for message in messages:
            yield message

    with pytest.raises(BadTransfer, match="2 bytes before the end"):
        asyncio.run(collect(stream([pb.ModelMessage(data=b"12")]), 4))
    with pytest.raises(BadTransfer, match="something else"):
        asyncio.run(collect(stream([pb.ModelMessage(data=b"12345")]), 4))
    assert asyncio.run(collect(stream([pb.ModelMessage(data=b"12"), pb.ModelMessage(data=b"34")]), 4)) == b"1234"
