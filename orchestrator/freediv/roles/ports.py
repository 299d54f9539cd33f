"""Ports: whether those that a party needs are there to be had, and which are free."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

from ..errors import UserError
from .config import PartyConfig

_BELOW_EPHEMERAL = range(15000, 32000)
"""No connection going out is given one of these, so that a port stays free while its party is down."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses at this moment."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.SystemRandom().sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL)):
            if len(found) == count:
                break
            try:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


def check_ports(config: PartyConfig) -> None:
    """Refuse ports that are taken.

    Raises:
        UserError: names the party, the key and the port.
    """
    host, _, port = config.link_addresses()[config.rank].rpartition(":")
    _check_port(config, "link_port", int(port), host.strip("[]"))
    _check_port(config, "grpc_port", config.me.grpc_port, config.listen)
    _check_port(config, "metrics_port", config.metrics_port, config.metrics_listen or config.listen)


def _check_port(config: PartyConfig, name: str, port: int, host: str) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise UserError(f"party {config.rank}: its host '{host}' does not resolve") from None
    with socket.socket(found[0], socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(found[4])
        except OSError as error:
            raise UserError(
                f"party {config.rank}: {name} {port} cannot be used ({(error.strerror or str(error)).lower()}); "
                "stop what uses it or give another port in the topology"
            ) from None
