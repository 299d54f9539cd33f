"""Connections to parties: mutual TLS, the rank insisted on, and errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import grpc

from ..cluster.addresses import join_host_port
from ..cluster.configuration import OwnerConfig, PartyAddress, PartyConfig
from ..cluster.credentials import Credentials
from ..cluster.identity import Identity, server_name
from ..errors import UserError

MESSAGE_BYTES = 4 << 20
"""The largest message that any role takes."""
_OPTIONS = (
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # A party that comes back is to be found within a second.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A host that is gone without a word is noticed.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_http_proxy", 0),
)


ADMITTED = "admitted"
"""Initial metadata of a request's call: the party has taken it in, and waits for its shares."""
RETRY_AFTER = "retry-after-s"
"""Trailing metadata of a refusal: after how many seconds the same call may be answered."""
WITHDRAWN = "its owner withdrew the request"
"""What the other parties say of a request that ended at one of them: that one knows why."""


_LONGEST_CALL_S = 86400.0


class NotAnswered(UserError):  # noqa: N818 (an event, not a mistake)
    """A party did not answer, or did not do what was asked; nothing is wrong with the input."""


class Exhausted(NotAnswered):
    """What this owner may ask is used up, by the quota that the parties' operators gave it."""


class Busy(NotAnswered):
    """A party has no room now, but may have after `retry_after_s` seconds."""

    def __init__(self, words: str, retry_after_s: float) -> None:
        super().__init__(words)
        self.retry_after_s = retry_after_s


def open_channel(config: PartyConfig | OwnerConfig, party: PartyAddress, identity: Identity) -> grpc.aio.Channel:
    """A channel to a party; whoever answers has to show that party's certificate."""
    name = server_name(config.cluster, party.rank)
    options = (*_OPTIONS, ("grpc.ssl_target_name_override", name), ("grpc.default_authority", name))
    return grpc.aio.secure_channel(join_host_port(party.host, party.grpc_port), identity.channel_credentials(), options)


class PartyChannel:
    """A party's channel to another (or to itself), opened anew when its own certificate was renewed. Must be closed."""

    def __init__(self, config: PartyConfig, rank: int, credentials: Credentials) -> None:
        self._config, self._rank, self._credentials = config, rank, credentials
        self._shown = credentials.current()
        self._channel = open_channel(config, config.reach(rank), self._shown)
        self._closing: set[asyncio.Task[None]] = set()

    def get(self) -> grpc.aio.Channel:
        """The channel to make the next call on."""
        identity = self._credentials.current()
        if identity is not self._shown:
            # What is under way on the one from before ends there.
            task = asyncio.ensure_future(self._channel.close(_LONGEST_CALL_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self._shown = identity
            self._channel = open_channel(self._config, self._config.reach(self._rank), identity)
        return self._channel

    async def close(self) -> None:
        """End all calls."""
        for task in self._closing:
            task.cancel()
        await self._channel.close(None)


@contextlib.asynccontextmanager
async def channels(config: OwnerConfig, identity: Identity) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Channels to all parties, by rank; closed in the end."""
    opened = [open_channel(config, party, identity) for party in config.parties]
    try:
        yield opened
    finally:
        await asyncio.gather(*(channel.close(None) for channel in opened))


async def explain(error: grpc.aio.AioRpcError, config: OwnerConfig | PartyConfig, rank: int) -> UserError:
    """What a failed call to a party means, in one line."""
    explained = await _explain_status(error.code(), error.details(), config, rank)
    metadata: Any = error.trailing_metadata() or ()
    after = dict(tuple(metadata)).get(RETRY_AFTER)
    # Only so much is believed of what a party says.
    if isinstance(explained, NotAnswered) and isinstance(after, str) and after.isdecimal() and len(after) < 6:
        return Busy(str(explained), float(after))
    return explained


async def _explain_status(
    code: grpc.StatusCode, details: str | None, config: OwnerConfig | PartyConfig, rank: int
) -> UserError:
    details = " ".join((details or "").split())
    party = next(one for one in config.parties if one.rank == rank)
    where = f"party {rank} at {join_host_port(party.host, party.grpc_port)}"
    if code == grpc.StatusCode.UNAVAILABLE:
        found = await asyncio.to_thread(_probe, config, party)
        return NotAnswered(f"{where} {found or f'went away ({details})'}")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return NotAnswered(f"{where} did not answer in time; see `freediv status`")
    if code == grpc.StatusCode.ABORTED:  # by all parties: the details say which of them it is about
        return NotAnswered(details)
    if code == grpc.StatusCode.CANCELLED:
        return NotAnswered(f"{where} stopped answering")
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED):
        return NotAnswered(f"{where} failed ({code.name.lower()}: {details}); see its log")
    kind = Exhausted if code == grpc.StatusCode.RESOURCE_EXHAUSTED else UserError
    return kind(f"{where}: {details}")


def _probe(config: OwnerConfig | PartyConfig, party: PartyAddress) -> str | None:  # noqa: PLR0911 (one for each reason)
    """Why no connection comes about: gRPC's own words for it are not for people. None: one does."""
    context = ssl.create_default_context(cafile=str(config.ca))
    context.load_cert_chain(str(config.certificate), str(config.key))
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((party.host, party.grpc_port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=server_name(config.cluster, party.rank)) as connection,
        ):
            # Under TLS 1.3 a refusal of our certificate comes after the handshake.
            connection.settimeout(1)
            with contextlib.suppress(TimeoutError):
                connection.recv(1)
        return None
    except socket.gaierror:
        return f"cannot be reached: the name '{party.host}' does not resolve"
    except ConnectionRefusedError:
        return "cannot be reached: nothing listens there; is it started?"
    except TimeoutError:
        return "cannot be reached: no answer within 5 s"
    except ssl.SSLCertVerificationError as error:
        if "mismatch" in str(error.verify_message).lower():
            return f"shows a certificate that is not party {party.rank}'s; correct the addresses"
        return (
            f"shows a certificate of another cluster ({error.verify_message}); use a folder that was rendered with it"
        )
    except ssl.SSLError as error:
        reason = str(error.reason or error).replace("_", " ").lower()
        return f"refused our certificate ({reason}); use a folder that was rendered with this cluster"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"
