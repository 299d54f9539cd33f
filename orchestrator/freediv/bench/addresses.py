"""Where the parties of a benchmark find each other: on loopback, or through a relay that shapes the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from ..cluster.ports import free_ports

Peers: TypeAlias = tuple[tuple[str, str], ...]
"""(id, "host:port") by rank."""
Link: TypeAlias = Callable[[int], AbstractContextManager[list[Peers]]]
"""Given the number of parties, each party's view of all addresses, for as long as the context is open."""


@contextmanager
def loopback(world_size: int) -> Iterator[list[Peers]]:
    """All parties on 127.0.0.1, at the speed of this machine."""
    ports = free_ports(world_size)
    peers = tuple((f"party-{rank}", f"127.0.0.1:{port}") for rank, port in enumerate(ports))
    yield [peers] * world_size
