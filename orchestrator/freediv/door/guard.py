"""What stands before every request: who asks, how much, for how long, and what is noted of it.

ASGI, outside of the framework: nothing is read before it is known who sends it, nothing is held beyond the limits, and
a caller who hangs up has what was begun for them ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import Iterator
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..model.reading.picture_files import begins_as_image
from ..tracing import span
from .access import Access
from .limits import DoorLimits
from .metrics import DoorMetrics
from .pictures import as_json, is_kind
from .refusals import Refusal

log = logging.getLogger(__name__)

_BODY_S = 30.0
_AGAIN_S = 1.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_JSON = "application/json"
OPENAI = "/embeddings"
"""Paths that end so are OpenAI's, whose clients read errors in their own form."""
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_LOOKED_AT = {"/health", "/metrics", "/status"}
"""Routes that are asked every few seconds, by programs that watch and by open pages: noted where they are not well."""
HUNG_UP = 499
"""In place of a status, of a caller who did not wait."""


class _HungUp(Exception):  # noqa: N818 (an event, not a mistake)
    """The caller is gone."""


class Guard:
    """The application, guarded."""

    def __init__(self, app: ASGIApp, access: Access, limits: DoorLimits, metrics: DoorMetrics) -> None:
        self._app, self._access, self._limits, self._metrics = app, access, limits, metrics
        self._requests = self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        try:
            with span("door", request_id=exchange.request_id) as traced:
                await self._guarded(exchange, receive)
                exchange.trace(traced)
        except Refusal as refused:
            await exchange.refuse(refused, hang_up=not exchange.read)
        except _HungUp:
            exchange.status = HUNG_UP
        except Exception as error:
            # Not its words: they may hold what was sent.
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind, place = type(error).__name__, f"{where.filename}:{where.lineno}"
            log.error("request %s: %s at %s", exchange.request_id, kind, place)
            await exchange.refuse(Refusal("Backend", "freediv did not foresee this; see the door's log", status=500))
        finally:
            self._note(exchange)

    async def _guarded(self, exchange: _Exchange, receive: Receive) -> None:
        scope = exchange.scope
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._access.check(scope["method"], scope["path"], headers)
        if scope["method"] != "POST":
            exchange.read = True
            await self._until_hung_up(exchange, b"", receive)
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _JSON and not is_kind(kind):
            raise _neither()
        with self._place():
            held = [0]
            try:
                body = await self._body(receive, headers.get("content-length", ""), held, kind)
                exchange.read = True
                if kind != _JSON:
                    if not kind and not begins_as_image(body):
                        raise _neither()
                    body = as_json(body)
                    exchange.becomes(_JSON, len(body))
                await self._until_hung_up(exchange, body, receive)
            finally:
                self._bytes -= held[0]

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """Raises Refusal: there is none."""
        if self._requests >= self._limits.max_concurrent_requests:
            raise Refusal("Overloaded", "too many requests wait", retry_after_s=_AGAIN_S)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _body(self, receive: Receive, announced: str, held: list[int], kind: str) -> bytes:
        """The body, of which `held` counts the bytes that are set aside for it."""
        most = self._limits.image_limit if is_kind(kind) else self._limits.payload_limit
        if announced.isdecimal() and (len(announced) > 18 or int(announced) > most):
            raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        deadline = time.monotonic() + _BODY_S
        while True:
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except asyncio.TimeoutError:
                raise Refusal("Validation", f"the body took more than {_BODY_S:g} s", status=408) from None
            if message["type"] == "http.disconnect":
                raise _HungUp
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise _too_large(most)
            if self._bytes + len(part) > self._limits.payloads_limit:
                raise Refusal("Overloaded", "the requests that wait hold too much", retry_after_s=_AGAIN_S)
            self._bytes += len(part)
            held[0] += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _until_hung_up(self, exchange: _Exchange, body: bytes, receive: Receive) -> None:
        """Run the application on a body; if the caller hangs up, or the deadline comes, it is cancelled."""
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                await asyncio.Event().wait()  # nothing more comes, and who hangs up is noticed here
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def hung_up() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        answering = asyncio.ensure_future(self._app(exchange.scope, replay, exchange.send))
        leaving = asyncio.ensure_future(hung_up())
        try:
            await asyncio.wait(
                {answering, leaving}, timeout=self._limits.deadline_s, return_when=asyncio.FIRST_COMPLETED
            )
            if answering.done():
                answering.result()
            elif leaving.done():
                raise _HungUp
            else:
                raise Refusal("Backend", f"not answered within {self._limits.deadline_s:g} s", status=504)
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    def _note(self, exchange: _Exchange) -> None:
        seconds = time.monotonic() - exchange.started
        route = exchange.route
        self._metrics.request(route, exchange.status, seconds)
        log.log(
            logging.DEBUG if route in _LOOKED_AT and exchange.status == 200 else logging.INFO,
            "request %s: %s %s %d in %.3f s",
            exchange.request_id,
            exchange.scope["method"],
            route,
            exchange.status,
            seconds,
        )


def _neither() -> Refusal:
    return Refusal("Validation", "send JSON, with `content-type: application/json`, or an image", status=415)


def _too_large(most: int) -> Refusal:
    return Refusal("Validation", f"the body has more than {most} bytes")


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.started = time.monotonic()
        self.status = 0
        self.read = False
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        self.request_id = (given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()).decode()
        scope.setdefault("state", {})["request_id"] = self.request_id

    @property
    def route(self) -> str:
        """Its route, as the application has it; never the path, which is the caller's."""
        return getattr(self.scope.get("route"), "path", "") or "none"

    def becomes(self, kind: str, length: int) -> None:
        """Say of the body what it is to the application."""
        told = {b"content-type": kind.encode(), b"content-length": str(length).encode()}
        others = [(name, value) for name, value in self.scope["headers"] if name not in told]
        self.scope["headers"] = [*others, *told.items()]

    def trace(self, traced: Any) -> None:
        """Say in its span what it was, and what came of it."""
        if traced is not None:
            traced.update_name(self.route)
            traced.set_attribute("http.response.status_code", self.status)

    async def send(self, message: Message) -> None:
        """Pass on a part of the response, with the headers that all have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = dict(message.get("headers", ()))
            for name, value in (_HEADERS | {"x-request-id": self.request_id}).items():
                headers.setdefault(name.encode(), value.encode())
            message["headers"] = list(headers.items())
        await self._send(message)

    async def refuse(self, refused: Refusal, *, hang_up: bool = False) -> None:
        """Say why there is no answer, if none was begun; and read nothing more, if that is asked for."""
        if self.status:
            return
        body = json.dumps(refused.body(openai=self.scope["path"].endswith(OPENAI))).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))} | refused.headers
        headers |= {"connection": "close"} if hang_up else {}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body})
