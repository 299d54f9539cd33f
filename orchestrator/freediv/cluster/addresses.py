"""What a host's address stands for."""

from __future__ import annotations

import ipaddress
import re

_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"  # 127.example.org is anybody's


def is_every_address(listen: str) -> bool:
    """Whether this stands for every address of a host: those of IPv4, and of IPv6 where the system has it."""
    return listen in {"0.0.0.0", "::"}  # noqa: S104


def local_address(listen: str) -> str:
    """Where something that listens on this address is reached on its own machine."""
    return "127.0.0.1" if is_every_address(listen) else listen


def join_host_port(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_name(value: str) -> str:
    """A host as it is written: its name in lower case, or its IP address.

    Raises:
        ValueError: it is neither.
    """
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        if not _HOST.fullmatch(value) or value.replace(".", "").isdigit():
            raise ValueError(f"'{value}' is neither a host name nor an IP address") from None
        return value.lower()
