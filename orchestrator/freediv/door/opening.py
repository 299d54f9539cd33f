"""From folders of a data owner to a door that is open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..cluster.addresses import is_loopback, join_host_port
from ..cluster.configuration import read_owner_config
from ..errors import UserError
from ..tracing import configure
from .access import Access, names_of, read_token
from .application import application
from .door import Door
from .limits import DoorLimits
from .replica import Replica
from .served import Models
from .server import Listening, serve


@dataclass(frozen=True)
class Opening:
    """How a door is opened.

    Attributes:
        folders: of data owners, each with the name that its model is to have, or None.
        listening: where.
        token_file: with the token that callers have to show.
        published: host and port of the one address at which others reach it, where that is another.
        host_names: other names by which it may be called.
        limits: how much it takes.
    """

    folders: Sequence[tuple[str | None, Path]]
    listening: Listening = field(default_factory=Listening)
    token_file: Path | None = None
    published: tuple[str, int] | None = None
    host_names: Sequence[str] = ()
    limits: DoorLimits = field(default_factory=DoorLimits)

    def check(self) -> None:
        """Refuse to be open to others without anything to know them by.

        Raises:
            UserError: says what to give.
        """
        place = self.listening
        if place.is_local or (self.published is not None and is_loopback(self.published[0])):
            return
        where = join_host_port(*(self.published or (place.host, place.port)))
        if self.token_file is None and place.client_ca is None:
            raise UserError(
                f"{where}: others than programs of this machine could ask there; give --token-file or --client-ca, or "
                "listen on 127.0.0.1"
            )
        if place.certificate is None and self.published is None:
            raise UserError(
                f"{where}: texts would cross the network in the clear; give --tls-certificate and --tls-key, or listen "
                "on 127.0.0.1"
            )

    def access(self, port: int) -> Access:
        """Who may ask, at the port that was had.

        Raises:
            UserError: the token's file cannot be used.
        """
        place = self.listening
        token = None if self.token_file is None else read_token(self.token_file)
        hosts: frozenset[str] = frozenset()
        if token is None and place.client_ca is None and place.unix is None:
            reached = [(place.host, port), ("127.0.0.1", port), *([self.published] if self.published else [])]
            hosts = frozenset().union(*(names_of(*one) for one in reached), (one.lower() for one in self.host_names))
        return Access(token, hosts, place.scheme)

    def models(self) -> Models:
        """What will be behind it.

        Raises:
            UserError: a folder cannot be used.
        """
        replicas = []
        for name, folder in self.folders:
            config = read_owner_config(folder)
            if config.role != "data-owner":
                raise UserError(f"{folder}: is a {config.role}'s; the door is a data owner's")
            waited = {"request_s": min(config.request_s, self.limits.deadline_s)}
            replicas.append(Replica(config.model_copy(update=waited), name=name, places=self.limits.places))
        return Models(replicas)


def open_door(opening: Opening, on_open: Callable[[str, Models], None]) -> None:
    """Serve until a signal comes. `on_open` is given the address, and what is behind it.

    Raises:
        UserError: a folder, a file or the address cannot be used; says what to do.
    """
    opening.check()
    configure("freediv-door")
    asyncio.run(_open(opening, on_open))


def open_local_door(
    folder: Path, listening: socket.socket, on_open: Callable[[str, Models], None], stopped: threading.Event
) -> None:
    """Serve one data owner, whose parties are up, on a socket of loopback, which is closed in the end; in any thread,
    until it is `stopped`.

    Raises:
        UserError: the folder cannot be used.
    """
    asyncio.run(_open(Opening([(None, folder)], Listening(*listening.getsockname()[:2])), on_open, listening, stopped))


async def _open(
    opening: Opening,
    on_open: Callable[[str, Models], None],
    listening: socket.socket | None = None,
    stopped: threading.Event | None = None,
) -> None:
    place = opening.listening
    models, context = opening.models(), place.context()
    with contextlib.closing(listening or place.socket()) as opened:
        port = 0 if place.unix is not None else opened.getsockname()[1]
        app = application(Door(models, opening.limits), opening.access(port))
        address = replace(place, port=port).address if opening.published is None else _published(opening)
        if listening is not None:  # whoever is told of it can ask at once
            await asyncio.gather(*(replica.look() for replica in models.replicas))
        try:
            await serve(app, opened, context, lambda: on_open(address, models), stopped)
        finally:
            if place.unix is not None:
                place.unix.unlink(missing_ok=True)


def _published(opening: Opening) -> str:
    assert opening.published is not None
    return f"{opening.listening.scheme}://{join_host_port(*opening.published)}"
