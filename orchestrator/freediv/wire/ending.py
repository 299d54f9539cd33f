"""How a call ended, in the party's words."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import grpc

T = TypeVar("T")


class Ending:
    """The status that a party ended a call with; `error` is None while the call lasts, and where it went well.

    Without it an owner who is still writing would mostly read INTERNAL: when a write fails because the party has ended
    the call, grpc.aio puts that in place of the party's status, words and metadata, a known fault of it. A callback
    hears the status before.
    """

    def __init__(self, call: Any) -> None:
        self.call = call
        self.error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._hear)

    def _hear(self, call: Any) -> None:
        code = _at_once(call.code())
        if self.error is None and code != grpc.StatusCode.OK:
            initial, trailing = _at_once(call.initial_metadata()), _at_once(call.trailing_metadata())
            self.error = grpc.aio.AioRpcError(
                code, initial, trailing, details=_at_once(call.details()), debug_error_string=None
            )

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Have a failure within say what the party said.

        Raises:
            grpc.aio.AioRpcError: the party's status.
        """
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise (self.error or error) from None


def _at_once(answer: Coroutine[Any, Any, T]) -> T:
    """What a call that is over answers, which takes no waiting."""
    try:
        answer.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    answer.close()
    raise RuntimeError("the call is not over")
