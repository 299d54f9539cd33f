"""The server: where the door listens, and until when."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..cluster.addresses import is_loopback, join_host_port
from ..cluster.ports import bound
from ..errors import UserError

_HEADERS_S = 10
_HEADER_BYTES = 16_384
_GRACE_S = 10
_CONNECTIONS = 1024


@dataclass(frozen=True)
class Listening:
    """Where the door is to listen.

    Attributes:
        host, port: an address; port 0 is any that is free.
        unix: a Unix socket, in place of them.
        certificate, key: of TLS; None: plain HTTP.
        client_ca: whose certificates callers have to show; None: they show none.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    unix: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None

    @property
    def scheme(self) -> str:
        """Of its address."""
        return "http" if self.certificate is None else "https"

    @property
    def address(self) -> str:
        """As callers write it."""
        return (
            f"unix:{self.unix}" if self.unix is not None else f"{self.scheme}://{join_host_port(self.host, self.port)}"
        )

    @property
    def is_local(self) -> bool:
        """Whether programs of this machine alone reach it."""
        return self.unix is not None or is_loopback(self.host)

    def socket(self) -> socket.socket:
        """A socket there.

        Raises:
            UserError: there is none to be had.
        """
        if self.unix is not None:
            return _unix_socket(self.unix)
        try:
            return bound(self.host, self.port)
        except OSError as error:
            address = join_host_port(self.host, self.port)
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"cannot listen on {address} ({reason}); choose another with --listen") from None

    def context(self) -> ssl.SSLContext | None:
        """TLS, where it is wanted.

        Raises:
            UserError: a file cannot be used.
        """
        if self.certificate is None or self.key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise UserError(f"{self.certificate}, {self.key}: cannot be used for TLS ({_words(error)})") from None
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise UserError(f"{self.client_ca}: cannot be used to check callers ({_words(error)})") from None
        return context


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _unix_socket(path: Path) -> socket.socket:
    """A socket for this user alone; one that a process left behind is taken away."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                    raise UserError(f"{path}: another process listens there; choose another path")
                except ConnectionRefusedError:
                    path.unlink()
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise UserError(f"{path}: cannot listen there ({_words(error)}); choose another path") from None
    finally:
        os.umask(before)
    return listening


class _Protocol(H11Protocol):
    """HTTP, from callers who send their headers soon."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._late = self.loop.call_later(_HEADERS_S, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        if self.cycle is None:
            self.transport.close()


class _Server(uvicorn.Server):
    """Which leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: ASGIApp,
    opened: socket.socket,
    context: ssl.SSLContext | None,
    on_ready: Callable[[], None],
    stopped: threading.Event | None = None,
) -> None:
    """Serve on a socket until SIGTERM, SIGINT or SIGHUP, or until it is `stopped` by who sees to signals; what is under
    way then has a few seconds to end.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        ssl_context_factory=None if context is None else lambda *_: context,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    ours = [] if stopped is not None else [signal.SIGINT, signal.SIGTERM]
    if ours and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        ours.append(signal.SIGHUP)
    for number in ours:
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    serving = asyncio.ensure_future(server.serve(sockets=[opened]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(_LOOK_S)
        if server.started:
            on_ready()
        while stopped is not None and not serving.done():
            server.should_exit = server.should_exit or stopped.is_set()
            await asyncio.wait([serving], timeout=_LOOK_S)
        await serving
    finally:
        serving.cancel()
        for number in ours:
            loop.remove_signal_handler(number)


_LOOK_S = 0.02
