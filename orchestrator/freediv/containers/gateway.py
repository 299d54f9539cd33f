"""The gateway beside a party: HAProxy, which carries the link between hosts and admits each peer at a door of its own.

SPU listens on loopback in plain TCP, and finds each peer at an exit on loopback. From there on it is TLS 1.3 with
certificates on both sides. SPU's own TLS would take any certificate of the cluster from anybody, and plaintext too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..roles.config import PartyConfig, join_host_port
from ..roles.identity import Role, server_name
from .services import FOLDER

CONFIG = "gateway.cfg"
RENEWAL = "/usr/local/share/freediv/gateway.lua"
"""In the gateway's image: has HAProxy show a renewed certificate without a restart."""
_MEMORY = "/tmp"  # noqa: S108 (in the container, and in memory)


def gateway_config(config: PartyConfig) -> str:
    """HAProxy's configuration (2.6 or newer, with Lua) for the gateway of a party."""
    return "\n".join((_general(config), *_doors(config), *_exits(config), _metrics(config)))


def _general(config: PartyConfig) -> str:
    me = Role.of(config)
    return f"""\
# Gateway of {me} in cluster {config.cluster}: HAProxy, in this party's network namespace.
# party.pem is certificate.pem and key.pem of this folder, put together in memory; when they are renewed, so is it.

global
    log stderr format raw local0 notice
    maxconn 256
    crt-base {_MEMORY}
    ca-base {FOLDER}
    setenv FREEDIV_FOLDER {FOLDER}
    setenv FREEDIV_CERTIFICATE {_MEMORY}/party.pem
    lua-load {RENEWAL}
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3

defaults
    mode tcp
    log global
    option dontlog-normal
    # Bytes are counted while a connection is open, not when it ends.
    option contstats
    timeout connect 5s
    # A link is idle between requests, for as long as nobody asks; dead peers are found by TCP's own probes.
    timeout client 24d
    timeout server 24d
    option clitcpka
    option srvtcpka

resolvers system
    parse-resolv-conf
    # A name that resolved once is kept while the resolver is away.
    hold nx 24d
    hold timeout 24d
    hold refused 24d
    hold other 24d
"""


def _doors(config: PartyConfig) -> Iterator[str]:
    """One door for each peer: it opens for that peer's certificate alone, and leads to SPU."""
    spu = config.link_addresses()[config.rank]
    for peer in config.parties:
        if peer.rank != config.rank:
            role = Role(config.cluster, "party", rank=peer.rank)
            yield f"""\
listen door-{peer.rank}
    bind :{config.me.door(peer.rank)} ssl crt party.pem ca-file ca.pem verify required
    tcp-request session reject unless {{ ssl_c_s_dn(cn) -m str "{role.common_name}" }}
    server spu {spu}
"""


def _exits(config: PartyConfig) -> Iterator[str]:
    """One exit for each peer, on loopback: it leads to the door that the peer keeps for this party, and to no other."""
    addresses = config.link_addresses()
    for peer in config.parties:
        if peer.rank != config.rank:
            host = peer.link_host or peer.host
            named = (
                ""
                if re.fullmatch(r"[0-9.]+|.*:.*", host)
                else " resolvers system resolve-prefer ipv4 init-addr libc,none"
            )
            yield f"""\
listen exit-{peer.rank}
    bind {addresses[peer.rank]}
    server party-{peer.rank} {join_host_port(host, peer.door(config.rank))} ssl crt party.pem ca-file ca.pem \
verify required verifyhost {server_name(config.cluster, peer.rank)}{named}
"""


def _metrics(config: PartyConfig) -> str:
    """Byte counts of each door and exit: an independent check of SPU's own."""
    return f"""\
frontend metrics
    mode http
    bind :{config.me.gateway_metrics_port(config.world_size)}
    timeout client 10s
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""
