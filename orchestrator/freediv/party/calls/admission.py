"""Who may call what, and how often at a time: decided by the caller's certificate, before a message is read.

Whatever a call holds, be it only what its caller leaves unread, an owner has of each method `MOST_CALLS` times at most;
`Infer`, whose calls wait for a run, counts its own (`requests.Inbox`). Parties are not counted: what they ask of each
other follows from what owners may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from ...cluster.credentials import Revoked
from ...cluster.identity import Kind, Role
from ..answering import HEADER_S, answering, next_message, send
from ..requests import Refused

_FROM_RANK_0 = frozenset({"Establish", "Preload", "Keep", "Execute", "Drop"})
_TO_RANK_0 = frozenset({"Arrived", "Withdrawn", "Activate"})
_CALLERS: dict[str, Kind | None] = {
    "ModelOwner": "model-owner",
    "DataOwner": "data-owner",
    "Peer": "party",
    "Status": None,
}
"""Which kind of role a service is for; None: any."""
MOST_CALLS = 8
"""Of one owner to one method at a time."""
_COUNTS_ITS_OWN = "Infer"
_AGAIN_S = 1


def caller(context: grpc.aio.ServicerContext) -> Role | None:
    """The one freediv role of the certificate that the caller showed, or None."""
    names = context.auth_context().get("x509_subject_alternative_name", [])
    roles = [role for role in (Role.parse(name.decode("ascii", "replace")) for name in names) if role is not None]
    return roles[0] if len(roles) == 1 else None


def refusal(method: str, role: Role | None, *, cluster: str, rank: int) -> str | None:  # noqa: PLR0911 (one for each reason)
    """Why a caller of this role may not call `/freediv.v1.SERVICE/METHOD` on party `rank`; None if it may."""
    service, _, name = method.removeprefix("/freediv.v1.").partition("/")
    if role is None:
        return "your certificate names no role of freediv"
    if role.cluster != cluster:
        return f"your certificate is for cluster {role.cluster}, this is cluster {cluster}"
    if service not in _CALLERS:
        return f"there is no service {service}"
    kind = _CALLERS[service]
    if kind is not None and role.kind != kind:
        return f"{name} is for a {kind.replace('-', ' ')}; your certificate is for {role}"
    if name in _FROM_RANK_0 and role.rank != 0:
        return f"{name} is for party/0 to call; your certificate is for {role}"
    if name in _TO_RANK_0 and rank != 0:
        return f"{name} is answered by party/0; this is party/{rank}"
    return None


class Admission(grpc.aio.ServerInterceptor):
    """Refuses calls with PERMISSION_DENIED and one line that says why; `on_refusal` hears of each."""

    def __init__(self, cluster: str, rank: int, revoked: Revoked, on_refusal: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._rank = rank
        self._revoked = revoked
        self._on_refusal = on_refusal
        self._calls: Counter[tuple[Role, str]] = Counter()

    async def intercept_service(  # type: ignore[override]
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Put the check before the method's own handler."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method

        async def check(context: grpc.aio.ServicerContext) -> None:
            role = caller(context)
            reason = refusal(method, role, cluster=self._cluster, rank=self._rank)
            if role is not None and (role, next(iter(context.auth_context()["x509_pem_cert"]))) in self._revoked:
                reason = f"the certificate of {role} has been revoked; ask the party's operator"
            if reason is not None:
                self._on_refusal(reason)
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)

        async def answer(_: Any, context: grpc.aio.ServicerContext) -> None:
            await check(context)
            async with answering(context):
                with self._counted(caller(context), method.rpartition("/")[2]):
                    await _call(handler, context)

        # A stream to gRPC, whatever it is: only of a stream is no message read before its handler is there.
        return grpc.stream_stream_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    @contextmanager
    def _counted(self, role: Role | None, method: str) -> Iterator[None]:
        """While an owner's call lasts.

        Raises:
            Refused: it is one too many.
        """
        if role is None or role.kind == "party" or method == _COUNTS_ITS_OWN:
            yield
            return
        if self._calls[role, method] >= MOST_CALLS:
            reason = f"{role} has {MOST_CALLS} calls of {method} open, and may have no more at a time"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, retry_after_s=_AGAIN_S)
        self._calls[role, method] += 1
        try:
            yield
        finally:
            self._calls[role, method] -= 1
            if not self._calls[role, method]:
                del self._calls[role, method]


async def _call(handler: Any, context: grpc.aio.ServicerContext) -> None:
    """A handler's own part of a call. All are coroutines: they read and write streams by `context`."""
    inner = getattr(handler, f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}")
    request = None
    if not handler.request_streaming:
        request = await next_message(context, HEADER_S)
        if request is None:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
    response = await inner(request, context)
    if not handler.response_streaming:
        await send(context, response)


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"
