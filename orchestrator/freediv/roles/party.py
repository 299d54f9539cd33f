"""A party's process: gRPC services around one `Member`, and on rank 0 the `Coordinator`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable

import grpc

from ..errors import UserError
from . import protocol_pb2_grpc as rpc
from .admission import Admission
from .channels import MESSAGE_BYTES, PartyChannel
from .config import PartyConfig, join_host_port
from .coordinator import Coordinator
from .credentials import Credentials, Revoked
from .member import Member
from .owner_services import DataOwnerService, ModelOwnerService
from .peer_services import PeerService, StatusService
from .ports import check_ports
from .requests import Observer

log = logging.getLogger(__name__)

_OPTIONS = (
    # Without this, two parties could listen on one port and share its calls between them.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
_GRACE_S = 2.0


async def run_party(
    config: PartyConfig,
    observer: Observer,
    *,
    on_member: Callable[[Member], None] = lambda member: None,
    until_stdin_closes: bool = False,
) -> None:
    """Serve as a party until SIGTERM or SIGINT, or until standard input is closed if that is asked for.

    `on_member` is given the party's `Member` before anything is served: `/metrics` reads its state.

    Raises:
        UserError: a certificate, the store or a port cannot be used.
    """
    credentials, revoked = Credentials(config), Revoked(config)
    check_ports(config)
    member = Member(config, observer)
    on_member(member)
    coordinator = Coordinator(config, credentials) if config.rank == 0 else None
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(member.close)
        stack.callback(asyncio.ensure_future(member.uploads.forget_unfinished()).cancel)
        rank_0 = PartyChannel(config, 0, credentials)
        stack.push_async_callback(rank_0.close)
        server = _server(config, credentials, revoked, member, coordinator, rank_0)
        await server.start()
        stack.push_async_callback(server.stop, _GRACE_S)
        log.info("party %d of cluster %s is listening", config.rank, config.cluster)
        await _until_stopped(coordinator, until_stdin_closes)
        # Requests in flight are told, and only then their streams are cut.
        member.close()
    log.info("party %d has stopped", config.rank)


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


async def _until_stopped(coordinator: Coordinator | None, until_stdin_closes: bool) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        # Nobody writes into it: it becomes readable when its other end is gone.
        loop.add_reader(sys.stdin.fileno(), stop.set)
    stopping = asyncio.ensure_future(stop.wait())
    coordinating = asyncio.ensure_future(coordinator.run()) if coordinator is not None else None
    try:
        # The coordinator never ends by itself; if it breaks, the party ends with its error rather than idle on.
        await asyncio.wait({stopping, *([coordinating] if coordinating else [])}, return_when=asyncio.FIRST_COMPLETED)
        if coordinating is not None and coordinating.done():
            coordinating.result()
    finally:
        stopping.cancel()
        if coordinating is not None:
            coordinating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await coordinating
