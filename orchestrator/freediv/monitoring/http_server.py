"""The HTTP server of `/metrics`: anybody may connect, and nobody can keep it busy."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from ..cluster.ports import bound

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication  # since Python 3.11

MOST_CONNECTIONS = 64
"""Beyond, the oldest makes room: a scrape takes milliseconds, and who stays longer than so many others is none."""
LONGEST_S = 10.0
"""From connecting to the last byte of an answer; Prometheus waits no longer by default."""


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: there is a request every few seconds, and strangers' would fill a disk."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Answers each connection's one request from a thread of its own.

    Raises:
        OSError: the address cannot be bound.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        self._lock = threading.Lock()
        self._since: dict[socket.socket, float] = {}  # the oldest first
        super().__init__((host, port), _QuietHandler)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind to the address, of IPv6 too where it is every one."""
        self.socket.close()
        self.socket = bound(str(self.server_address[0]), self.server_address[1])
        self.server_address = self.socket.getsockname()[:2]
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection in, in place of the oldest if there are too many."""
        with self._lock:
            if len(self._since) >= MOST_CONNECTIONS:
                self._end_oldest()
            self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End what takes too long; called twice a second, and after each connection."""
        with self._lock:
            while self._since and next(iter(self._since.values())) < time.monotonic() - LONGEST_S:
                self._end_oldest()

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is over."""
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that break, in which there is nothing to mend."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def _end_oldest(self) -> None:
        """Its thread reads the end of the request, and closes."""
        oldest = next(iter(self._since))
        del self._since[oldest]
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)
