"""A party's /metrics and what strangers do to it: it has no certificate to ask for."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from freediv.monitoring import http_server
from freediv.monitoring.exporter import BuildInfo, Ledger, PartyStatus, serve_metrics
from freediv.monitoring.http_server import LONGEST_S

HALF = b"GET /metrics HTTP/1.1\r\nHost: "


@pytest.fixture
def port() -> Iterator[int]:
    now = PartyStatus(True, 0, BuildInfo("0.9.5", "ABY3", "FM64"))
    with serve_metrics(Ledger(), lambda: now, host="127.0.0.1", port=0) as found:
        yield found


def flood(port: int, count: int, text: bytes) -> ExitStack:
    stack = ExitStack()
    for _ in range(count):
        with contextlib.suppress(ConnectionError):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)).sendall(text)
    return stack


def scrape(port: int, address: str = "127.0.0.1") -> str:
    with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=5) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("text", [b"", HALF], ids=["idle", "half a request"])
@pytest.mark.alone
def test_1500_connections_that_say_nothing_more_take_few_threads_and_keep_nobody_out(port: int, text: bytes) -> None:
    """1,500 idle connections, or half-sent requests, at /metrics | 64 at most: the oldest make room."""
    before = threading.active_count()
    with flood(port, 1500, text):
        assert threading.active_count() - before < 130
        began = time.monotonic()
        assert "freediv_link_up 1.0" in scrape(port)
        assert time.monotonic() - began < 2


@pytest.mark.alone
def test_whoever_sends_a_byte_now_and_then_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that comes a byte at a time | ended after so many seconds, however much it says."""
    assert LONGEST_S <= 10
    monkeypatch.setattr(http_server, "LONGEST_S", 2.0)
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port), 5) as slow:
        slow.sendall(HALF)
        slow.settimeout(0.3)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + 8:
                slow.sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    assert slow.recv(1) == b""
                    break
        assert 1 < time.monotonic() - began < 5
    time.sleep(0.5)
    assert threading.active_count() <= before


def test_what_strangers_send_is_not_in_the_log(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Requests that are none, and connections that break | nothing is written for them: they would fill a disk."""
    for text in (b"", b"\x16\x03\x01", b"GET\r\n\r\n", HALF, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), 5) as one, contextlib.suppress(ConnectionError):
            one.sendall(text)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset
    assert "freediv_link_up 1.0" in scrape(port)
    time.sleep(0.5)
    assert capfd.readouterr() == ("", "")
