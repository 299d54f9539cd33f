"""What a party says when it ends a call that is still written to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from freediv.wire.ending import Ending

CALLS = 50


class _Refusing(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        async def refuse(_: Any, context: grpc.aio.ServicerContext) -> None:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", (("retry-after-s", "3"),))

        return grpc.stream_stream_rpc_method_handler(refuse)


async def _refused(calls: int) -> list[grpc.aio.AioRpcError]:
    """Write to a server that refuses at once, and read what it said."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    found = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(calls):
            ending = Ending(channel.stream_stream("/service/Method")(timeout=20))
            assert ending.error is None
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                while True:
                    await ending.call.write(bytes(1 << 16))
            with pytest.raises(grpc.aio.AioRpcError) as caught, ending.told():
                await ending.call.read()
            found.append(caught.value)
    await server.stop(None)
    return found


def test_a_refusal_in_the_middle_of_an_upload_arrives_in_the_partys_words() -> None:
    for error in asyncio.run(_refused(CALLS)):
        assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        assert ("retry-after-s", "3") in tuple(error.trailing_metadata())
