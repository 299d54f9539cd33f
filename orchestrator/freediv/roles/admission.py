"""Who may call what: decided by the role in the caller's certificate, before a message is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from .credentials import Revoked
from .identity import Kind, Role

_FROM_RANK_0 = frozenset({"Establish", "Preload", "Keep", "Execute", "Drop"})
_TO_RANK_0 = frozenset({"Arrived", "Withdrawn", "Activate"})
_CALLERS: dict[str, Kind | None] = {
    "ModelOwner": "model-owner",
    "DataOwner": "data-owner",
    "Peer": "party",
    "Status": None,
}
"""Which kind of role a service is for; None: any."""


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

        return _guarded(handler, check)


def _guarded(handler: Any, check: Callable[[Any], Awaitable[None]]) -> grpc.RpcMethodHandler:
    """The handler with a check before it. All handlers are coroutines: they read and write streams by `context`."""
    shape = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
    inner = getattr(handler, shape)

    async def answer(request: Any, context: Any) -> Any:
        await check(context)
        return await inner(request, context)

    return getattr(grpc, f"{shape}_rpc_method_handler")(
        answer, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
    )


def _arity(streaming: bool) -> str:
    return "stream" if streaming else "unary"
