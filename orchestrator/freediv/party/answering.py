"""How a party's methods read their callers' messages, and what becomes of what goes wrong in them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ..errors import UserError
from ..mpc.worker.worker import WorkerFailed
from ..wire.channels import RETRY_AFTER
from ..wire.share_transfer import BadTransfer
from .requests import Refused

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext
T = TypeVar("T")
MESSAGE_S = 60.0
"""How long an owner may be silent in the middle of an upload."""
HEADER_S = 15.0
"""How long a call may be open without its first message."""
WRITE_S = 30.0
"""How long a caller may leave a message unread that is in the way of the next."""


async def next_message(context: Context, seconds: float = MESSAGE_S) -> Any:
    """The next message of the caller's stream; None at its end.

    Raises:
        Refused: none came in time.
        BadTransfer: what came is none.
    """
    try:
        message = await asyncio.wait_for(context.read(), seconds)
    except DecodeError:
        raise BadTransfer("a message came that cannot be read") from None
    except grpc.aio.InternalError:
        raise _gone() from None
    except asyncio.TimeoutError:
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, f"nothing came for {seconds:g} s") from None
    return None if message is grpc.aio.EOF else message  # type: ignore[attr-defined]


async def send(context: Context, message: Any) -> None:
    """Send the caller a message.

    Raises:
        Refused: the caller does not read. The call is over then, for this party; gRPC keeps what it has taken of it
            until the caller reads it or hangs up, and so the call keeps its place (`admission`) until then.
    """
    try:
        await asyncio.wait_for(context.write(message), WRITE_S)
    except grpc.aio.InternalError:
        raise _gone() from None
    except asyncio.TimeoutError:
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, f"nothing was read for {WRITE_S:g} s") from None


def _gone() -> asyncio.CancelledError:
    """What gRPC's internal errors are: of a caller who has gone, which is the call's end and nobody's mistake."""
    return asyncio.CancelledError()


@contextlib.asynccontextmanager
async def answering(context: Context) -> AsyncIterator[None]:
    """Turn what goes wrong in a method into a status with one line."""
    try:
        yield
    except grpc.aio.AbortError:  # a status has been sent
        raise
    except grpc.aio.InternalError:
        raise _gone() from None
    except Refused as error:
        again = () if error.retry_after_s is None else ((RETRY_AFTER, str(error.retry_after_s)),)
        await context.abort(error.code, str(error), again)
    except BadTransfer as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except asyncio.TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the time for this call is over")
    except WorkerFailed as error:
        await context.abort(grpc.StatusCode.ABORTED, str(error))
    except UserError as error:
        log.warning("a call failed: %s", error)  # a full disk, a damaged file: its operator's to mend
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except ValueError as error:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
    except Exception:
        log.exception("a call failed")
        # What it was is for this party's operator: its words could hold what a caller is not to know.
        await context.abort(grpc.StatusCode.INTERNAL, "an error that nobody foresaw")


async def in_thread(call: Callable[..., T], *arguments: Any) -> T:
    """As `asyncio.to_thread`, but over when this is: a caller that goes away has its traces removed only then."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        return await asyncio.shield(running)
    finally:
        await asyncio.wait({running})


def other_topology() -> Refused:
    """The refusal of a caller whose folder does not fit this party's."""
    reason = "this folder and the party's were rendered from different topologies; use folders of one rendering"
    return Refused(grpc.StatusCode.FAILED_PRECONDITION, reason)
