"""Who may speak to the door: programs of this machine, or who has the token or a certificate."""

from __future__ import annotations

import hmac
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..cluster.addresses import is_loopback, join_host_port
from ..errors import UserError
from .refusals import Refusal

_SHORTEST = 16
_LONGEST = 4096
OPEN = frozenset({"/health", "/ping"})
"""Asked without a token: whether the door is well, and nothing else."""
PAGE, PAGE_FILES = "/", "/page/"
"""Read without one, too: the page in which it is given, and what lies in the folder of its files."""


def read_token(path: Path) -> str:
    """The token that callers have to show.

    Raises:
        UserError: it cannot be read, other users can read it, too, or it can be guessed.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            token = file.read(_LONGEST).strip()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: holds no token: letters, digits and signs of ASCII") from None
    if mode & 0o007:
        raise UserError(f"{path}: every user can read this token; run `chmod 600 {path}`")
    if len(token) < _SHORTEST or not token.isprintable() or " " in token:
        raise UserError(
            f"{path}: a token has at least {_SHORTEST} characters and no blanks; `openssl rand -hex 32` makes one"
        )
    return token


@dataclass(frozen=True)
class Access:
    """What a request has to show before its body is read.

    Attributes:
        token: in `Authorization: Bearer`; None: none is wanted.
        hosts: names and addresses, with ports, by which the door may be called; empty: any. A page of another site
            that has its name point at loopback (DNS rebinding) calls it by that name.
        scheme: by which it is reached.
    """

    token: str | None = None
    hosts: Collection[str] = ()
    scheme: str = "http"

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Refuse a request by its method, path and headers (their names in lower case).

        Raises:
            Refusal: says why.
        """
        host = headers.get("host", "").lower()
        if self.hosts and host not in self.hosts:
            raise Refusal("Unauthorized", "the door is not called so; see --host-name", status=403)
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"{self.scheme}://{host}":
            raise Refusal("Unauthorized", "pages of other sites may not ask", status=403)
        open_to_all = path in OPEN or (method == "GET" and (path == PAGE or path.startswith(PAGE_FILES)))
        if self.token is not None and not open_to_all:
            scheme, _, shown = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), self.token.encode())
            if scheme.lower() != "bearer" or not right:
                raise Refusal("Unauthorized", "show the token: `Authorization: Bearer TOKEN`")


def names_of(host: str, port: int) -> frozenset[str]:
    """What callers write to reach an address: all names of loopback where it is one."""
    hosts = {host, "127.0.0.1", "localhost", "::1"} if is_loopback(host) else {host}
    found = {join_host_port(one, port) for one in hosts}
    return frozenset(found | {name.rpartition(":")[0] for name in found} if port in (80, 443) else found)
