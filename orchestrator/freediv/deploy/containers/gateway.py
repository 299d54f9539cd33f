"""The gateway beside a party: HAProxy, which carries the link between hosts and admits each peer at a door of its own.

SPU listens on loopback in plain TCP, and finds each peer at an exit on loopback. From there on it is TLS 1.3 with
certificates on both sides. SPU's own TLS would take any certificate of the cluster from anybody, and plaintext too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...cluster.addresses import is_every_address, join_host_port
from ...cluster.configuration import PartyConfig
from ...cluster.identity import Role, server_name
from .services import FOLDER

CONFIG = "gateway.cfg"
SCRIPT = "/usr/local/share/freediv/gateway.lua"
"""In the gateway's image: has HAProxy follow its folder without a restart, to a renewed certificate and to who is
answered no more."""
WITHOUT_IPV6 = "FREEDIV_WITHOUT_IPV6"
"""Environment variable: set where the system has no IPv6, for HAProxy refuses what it cannot bind."""
MOST, MOST_AT_AN_EXIT = 2000, 256
"""Connections at a time, at each door and for metrics. One in its handshake takes 42 KiB, and 154 KiB if it sends the
longest ClientHello that OpenSSL reads: `services.GATEWAY_MEMORY_BYTES` is enough for all that strangers can open."""
FEW = 16
"""Connections of one address that always get in, while there is room: a peer has fewer."""
_HANDSHAKE_S = 5
"""The peer's gateway waits no longer for a connection either."""


@dataclass(frozen=True)
class GatewayPlace:
    """Where a gateway has what it needs: the party's folder, `party.pem` in a private directory, and its script."""

    folder: str | Path
    private: str | Path
    script: str | Path


IN_CONTAINER = GatewayPlace(FOLDER, "/tmp", SCRIPT)  # noqa: S108 (in the container, and in memory)


def gateway_config(config: PartyConfig, place: GatewayPlace = IN_CONTAINER) -> str:
    """HAProxy's configuration (2.6 or newer, with Lua) for the gateway of a party."""
    return "\n".join((_general(config, place), *_doors(config), *_exits(config), _metrics(config)))


def _general(config: PartyConfig, place: GatewayPlace) -> str:
    me, peers = Role.of(config), config.world_size - 1
    return f"""\
# Gateway of {me} in cluster {config.cluster}: HAProxy, in this party's network namespace.
# party.pem is certificate.pem and key.pem of this folder, put together in memory; when they are renewed, so is it.

global
    log stderr format raw local0 notice
    # Room for all of the doors, exits and metrics below: none takes another's.
    maxconn {peers * (MOST + MOST_AT_AN_EXIT) + MOST + 100}
    crt-base "{place.private}"
    ca-base "{place.folder}"
    setenv FREEDIV_FOLDER "{place.folder}"
    setenv FREEDIV_CERTIFICATE "{place.private}/party.pem"
    lua-load "{place.script}"
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3

defaults
    mode tcp
    log global
    option dontlog-normal
    # Bytes are counted while a connection is open, not when it ends.
    option contstats
    # How long a handshake may take.
    timeout connect {_HANDSHAKE_S}s
    timeout client {_HANDSHAKE_S}s
    timeout server {_HANDSHAKE_S}s
    # After it: a link is idle between requests, for as long as nobody asks; dead peers are found by TCP's own probes.
    timeout tunnel 24d
    option clitcpka
    option srvtcpka

resolvers system
    parse-resolv-conf
    # A name that resolved once is kept while the resolver is away.
    hold nx 24d
    hold timeout 24d
    hold refused 24d
    hold other 24d

# How many connections each address has open (of IPv6: each network of a site).
backend sources
    stick-table type ipv6 size 100k expire 1m store conn_cur
"""


def _doors(config: PartyConfig) -> Iterator[str]:
    """One door for each peer: it opens for that peer's certificate alone, and leads to SPU."""
    spu = _address(config.link_addresses()[config.rank])
    for peer in config.parties:
        if peer.rank != config.rank:
            role = Role(config.cluster, "party", rank=peer.rank)
            tls = "ssl crt party.pem ca-file ca.pem verify required"
            host = peer.link_host or peer.host
            yield f"""\
listen door-{peer.rank}
{_bind(config.me.link_host or config.listen, config.me.door(peer.rank), tls)}
{_room(host if _is_address(host) else None)}
    stick-table type string len 64 size 1k store conn_cur
    tcp-request session reject unless {{ ssl_c_s_dn(cn) -m str "{role.common_name}" }}
    tcp-request session track-sc1 ssl_c_der,sha2(256),hex
    tcp-request content reject unless {{ lua.answered({role}) -m bool }}
    server spu {spu}
"""


def _exits(config: PartyConfig) -> Iterator[str]:
    """One exit for each peer, on loopback: it leads to the door that the peer keeps for this party, and to no other."""
    addresses = tuple(map(_address, config.link_addresses()))
    for peer in config.parties:
        if peer.rank != config.rank:
            role = Role(config.cluster, "party", rank=peer.rank)
            host = peer.link_host or peer.host
            named = "" if _is_address(host) else " resolvers system resolve-prefer ipv4 init-addr libc,none"
            yield f"""\
listen exit-{peer.rank}
    bind {addresses[peer.rank]}
    maxconn {MOST_AT_AN_EXIT}
    tcp-request content reject unless {{ lua.answered({role}) -m bool }}
    tcp-response content reject unless {{ lua.answering -m bool }}
    server party-{peer.rank} {join_host_port(host, peer.door(config.rank))} ssl crt party.pem ca-file ca.pem \
verify required verifyhost {server_name(config.cluster, peer.rank)}{named}
"""


def _address(address: str) -> str:
    """In HAProxy's words."""
    return address.replace("unix:", "unix@", 1)


def _metrics(config: PartyConfig) -> str:
    """Byte counts of each door and exit: an independent check of SPU's own."""
    host, port = config.metrics_listen or config.listen, config.me.gateway_metrics_port(config.world_size)
    return f"""\
frontend metrics
    mode http
{_bind(host, port)}
{_room("127.0.0.0/8")}
    timeout http-request {_HANDSHAKE_S}s
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""


def _bind(host: str, port: int, how: str = "") -> str:
    if not is_every_address(host):
        return f"    bind {join_host_port(host, port)} {how}".rstrip()
    return f"""\
{f"    bind 0.0.0.0:{port} {how}".rstrip()}
    .if !defined({WITHOUT_IPV6})
    {f"bind [::]:{port} v6only {how}".rstrip()}
    .endif"""


def _room(spared: str | None) -> str:
    """Half of the room is for addresses with few connections: one stranger's cannot take it, however many they are.

    `spared` addresses may have as many as there is room for: the peer's own, or those of this host's health check.
    """
    unless = f" !{{ src {spared} }}" if spared else ""
    return f"""\
    maxconn {MOST}
    tcp-request connection track-sc0 src,ipmask(32,64) table sources
    tcp-request connection reject if {{ fe_conn gt {MOST // 2} }} {{ sc0_conn_cur(sources) gt {FEW} }}{unless}"""


def _is_address(host: str) -> bool:
    return re.fullmatch(r"[0-9.]+|.*:.*", host) is not None
