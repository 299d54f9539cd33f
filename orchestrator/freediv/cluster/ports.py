"""Ports: whether those that a party needs are there to be had, and which are free."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

from ..errors import UserError
from .addresses import is_every_address
from .configuration import PartyConfig

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
    address = config.link_addresses()[config.rank]
    if config.gateway and not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        _check_port(config, "link_port", int(port), host)
    _check_port(config, "grpc_port", config.me.grpc_port, config.listen)
    _check_port(config, "metrics_port", config.metrics_port, config.metrics_listen or config.listen)


def bound(host: str, port: int) -> socket.socket:
    """A TCP socket at an address; where that is every one, at those of IPv6 too, if the system has it.

    Raises:
        OSError: it cannot be had; of a name that does not resolve, `socket.gaierror`.
    """
    both = is_every_address(host) and socket.has_dualstack_ipv6()
    if is_every_address(host):
        host = "::" if both else "0.0.0.0"  # noqa: S104
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(found[0], socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(found[4])
    except OSError:
        listening.close()
        raise
    return listening


def unused_exit(config: PartyConfig) -> str | None:
    """Address of an exit of this party's gateway at which nothing listens: the gateway does not run."""
    return next(
        (one for rank, one in enumerate(config.link_addresses()) if rank != config.rank and not _listens(one)), None
    )


def _listens(address: str) -> bool:
    """Whether something does, at a Unix socket or a port of loopback, without a connection to it."""
    if address.startswith("unix:"):
        return Path(address.removeprefix("unix:")).exists()
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return True
    return False


def _check_port(config: PartyConfig, name: str, port: int, host: str) -> None:
    try:
        bound(host, port).close()
    except socket.gaierror:
        raise UserError(f"party {config.rank}: its host '{host}' does not resolve") from None
    except OSError as error:
        raise UserError(
            f"party {config.rank}: {name} {port} cannot be used ({(error.strerror or str(error)).lower()}); "
            "stop what uses it or give another port in the topology"
        ) from None
