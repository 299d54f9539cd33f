"""A relay between the parties of a benchmark that gives a network its bandwidth and its delay.

The kernel can hold back bandwidth but not, everywhere, delay; so each connection of a party goes through a relay on
loopback, which hands on every byte in order, late by half a round trip, and no faster than the sender's bandwidth,
which all its connections share. It runs in a process of its own.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from ..cluster.ports import free_ports
from .addresses import Link, Peers

_CHUNK = 1 << 16
_AHEAD_S = 0.02
"""How far a sender may be ahead of its bandwidth before it is made to wait, as by a full send buffer."""


@dataclass(frozen=True)
class Network:
    """Bandwidth of each party in bit/s, and round-trip time between any two in seconds."""

    name: str
    bandwidth: float
    rtt: float

    def predict(self, loopback_seconds: float, sent_bytes: float, messages: float) -> float:
        """Seconds by the model: compute, plus bytes over bandwidth, plus half a round trip for every message.

        Every message of a party is taken to wait for the one before: too much where several travel together, too
        little where a party waits for messages between others.
        """
        return loopback_seconds + sent_bytes * 8 / self.bandwidth + messages * self.rtt / 2


NETWORKS = {n.name: n for n in (Network("lan", 5e9, 0.4e-3), Network("lab", 1e9, 1e-3), Network("wan", 400e6, 40e-3))}


def shaped(network: Network) -> Link:
    """Parties on 127.0.0.1 whose connections to each other pass through a relay."""

    @contextmanager
    def link(world_size: int) -> Iterator[list[Peers]]:
        ports = free_ports(world_size + world_size * world_size)
        listen, doors = ports[:world_size], ports[world_size:]
        views: list[Peers] = []
        routes = []
        for rank in range(world_size):
            view = []
            for peer in range(world_size):
                port = listen[peer]
                if peer != rank:
                    port = doors[rank * world_size + peer]
                    routes.append({"door": port, "target": listen[peer], "sender": rank, "receiver": peer})
                view.append((f"party-{peer}", f"127.0.0.1:{port}"))
            views.append(tuple(view))
        configuration = json.dumps({"network": asdict(network), "routes": routes})
        command = [sys.executable, "-m", "freediv.bench.network"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as relay:
            try:
                assert relay.stdin is not None
                assert relay.stdout is not None
                relay.stdin.write(configuration + "\n")
                relay.stdin.flush()
                relay.stdout.readline()
                yield views
            finally:
                relay.kill()

    return link


class _Egress:
    """One party's outgoing bandwidth."""

    def __init__(self, bandwidth: float) -> None:
        self._seconds_per_byte = 8 / bandwidth
        self._lock, self._free = threading.Lock(), 0.0

    def book(self, size: int) -> float:
        """When the last of so many bytes has left."""
        with self._lock:
            self._free = max(self._free, time.monotonic()) + size * self._seconds_per_byte
            return self._free


def _pump(source: socket.socket, sink: socket.socket, egress: _Egress, delay: float) -> None:
    """Hand on one direction of a connection until it ends."""
    waiting: deque[tuple[float, bytes]] = deque()
    arrived = threading.Semaphore(0)

    def deliver() -> None:
        while True:
            arrived.acquire()
            due, chunk = waiting.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not chunk:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(chunk)
            except OSError:
                return

    threading.Thread(target=deliver, daemon=True).start()
    while True:
        try:
            chunk = source.recv(_CHUNK)
        except OSError:
            chunk = b""
        left = egress.book(len(chunk))
        waiting.append((left + delay, chunk))
        arrived.release()
        if not chunk:
            return
        time.sleep(max(0.0, left - time.monotonic() - _AHEAD_S))


def _serve(route: dict[str, int], door: socket.socket, egress: list[_Egress], delay: float) -> None:
    while True:
        near, _ = door.accept()
        far = socket.socket()
        try:
            far.connect(("127.0.0.1", route["target"]))
        except OSError:  # not listening yet: the sender tries again
            near.close()
            continue
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink, sender in ((near, far, route["sender"]), (far, near, route["receiver"])):
            threading.Thread(target=_pump, args=(source, sink, egress[sender], delay), daemon=True).start()


def main() -> None:
    """`python -m freediv.bench.network`: routes on standard input, a line on standard output once doors are open."""
    configuration = json.loads(sys.stdin.readline())
    network = Network(**configuration["network"])
    parties = 1 + max(route["sender"] for route in configuration["routes"])
    egress = [_Egress(network.bandwidth) for _ in range(parties)]
    for route in configuration["routes"]:
        door = socket.create_server(("127.0.0.1", route["door"]))
        threading.Thread(target=_serve, args=(route, door, egress, network.rtt / 2), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()  # ends with the benchmark


if __name__ == "__main__":
    main()
