"""A party's process: gRPC services around one `Member`, and on rank 0 the `Coordinator`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import subprocess
import sys
from collections.abc import Callable

import grpc

from ..cluster.addresses import join_host_port
from ..cluster.configuration import PartyConfig
from ..cluster.credentials import Credentials, Revoked
from ..cluster.ports import check_ports
from ..errors import UserError
from ..tracing import configure
from ..wire import protocol_pb2_grpc as rpc
from ..wire.channels import MESSAGE_BYTES, PartyChannel
from .calls.admission import Admission
from .calls.for_owners import DataOwnerService, ModelOwnerService
from .calls.for_peers import PeerService, StatusService
from .member import Member
from .order.coordinator import Coordinator
from .requests import Observer

log = logging.getLogger(__name__)

_OPTIONS = (
    # Without this, two parties could listen on one port and share its calls between them.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # Of one connection. How many calls an owner may have is counted by its certificate (`admission`), since nothing
    # bounds its connections; a bound for all callers together would let one owner shut out the rest.
    ("grpc.max_concurrent_streams", 128),
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Whoever connects has shown a certificate by then, or is gone; gRPC would wait for two minutes.
    ("grpc.server_handshake_timeout_ms", 10_000),
)
_GRACE_S = 2.0
_LOOK_S = 0.5
_FILES = 1 << 16
"""Most shells give a process 1,024; strangers' connections, while they last, would take those from its disk."""


async def run_party(
    config: PartyConfig,
    observer: Observer,
    *,
    on_member: Callable[[Member], None] = lambda member: None,
    gateway: subprocess.Popen[bytes] | None = None,
    until_stdin_closes: bool = False,
) -> None:
    """Serve as a party until SIGTERM or SIGINT, or until standard input is closed if that is asked for.

    `on_member` is given the party's `Member` before anything is served: `/metrics` reads its state. `gateway` is the
    process of this party's gateway, where it is this process's to run: the party is of no use without.

    Raises:
        UserError: a certificate, the store or a port cannot be used; or the gateway ended.
    """
    credentials, revoked = Credentials(config), Revoked(config)
    configure(f"freediv-party-{config.rank}")
    allow_open_files()
    check_ports(config)
    member = Member(config, observer)
    on_member(member)
    coordinator = Coordinator(config, credentials, revoked) if config.rank == 0 else None
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(member.close)
        stack.callback(asyncio.ensure_future(member.uploads.forget_unfinished()).cancel)
        rank_0 = PartyChannel(config, 0, credentials)
        stack.push_async_callback(rank_0.close)
        server = _server(config, credentials, revoked, member, coordinator, rank_0)
        await server.start()
        stack.push_async_callback(server.stop, _GRACE_S)
        log.info("party %d of cluster %s is listening", config.rank, config.cluster)
        await _until_stopped(coordinator, gateway, until_stdin_closes)
        # Requests in flight are told, and only then their streams are cut.
        member.close()
    log.info("party %d has stopped", config.rank)


def allow_open_files() -> None:
    """Let this process open as many files as it may, but for more than it can need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _server(
    config: PartyConfig,
    credentials: Credentials,
    revoked: Revoked,
    member: Member,
    coordinator: Coordinator | None,
    rank_0: PartyChannel,
) -> grpc.aio.Server:
    def on_refusal(reason: str) -> None:
        log.warning("refused a call: %s", reason)
        member.observer.request_finished("refused", 0.0)

    admission = Admission(config.cluster, config.rank, revoked, on_refusal)
    server = grpc.aio.server(interceptors=(admission,), options=_OPTIONS)
    rpc.add_ModelOwnerServicer_to_server(ModelOwnerService(member, coordinator), server)  # type: ignore[no-untyped-call]
    rpc.add_DataOwnerServicer_to_server(DataOwnerService(member, rank_0), server)  # type: ignore[no-untyped-call]
    rpc.add_PeerServicer_to_server(PeerService(member, coordinator), server)  # type: ignore[no-untyped-call]
    rpc.add_StatusServicer_to_server(StatusService(member, coordinator), server)  # type: ignore[no-untyped-call]
    try:
        server.add_secure_port(join_host_port(config.listen, config.me.grpc_port), credentials.for_server())
    except RuntimeError:
        raise UserError(f"party {config.rank}: grpc_port {config.me.grpc_port} cannot be used") from None
    return server


async def _until_stopped(
    coordinator: Coordinator | None, gateway: subprocess.Popen[bytes] | None, until_stdin_closes: bool
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        # Nobody writes into it: it becomes readable when its other end is gone.
        loop.add_reader(sys.stdin.fileno(), stop.set)
    stopping = asyncio.ensure_future(stop.wait())
    coordinating = asyncio.ensure_future(coordinator.run()) if coordinator is not None else None
    gateway_ends = asyncio.ensure_future(_ended(gateway)) if gateway is not None else None
    ends = [task for task in (stopping, coordinating, gateway_ends) if task is not None]
    try:
        # The coordinator never ends by itself; if it breaks, the party ends with its error rather than idle on.
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if coordinating is not None and coordinating.done():
            coordinating.result()
        if gateway_ends is not None and gateway_ends.done():
            raise UserError(f"its gateway ended with exit status {gateway_ends.result()}; the lines before say why")
    finally:
        stopping.cancel()
        if gateway_ends is not None:
            gateway_ends.cancel()
        if coordinating is not None:
            coordinating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await coordinating


async def _ended(process: subprocess.Popen[bytes]) -> int:
    while (status := process.poll()) is None:
        await asyncio.sleep(_LOOK_S)
    return status
