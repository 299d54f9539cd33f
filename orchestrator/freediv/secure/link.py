"""The link between the parties: SPU's own transport, made from a configuration, waited for, and measured."""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spu import libspu

from .failures import PeerLost, ProgramMismatch, WorkerFailed
from .records import Traffic

Peer = tuple[str, str]
"""A party's id and its address, host:port."""

_RETRIES, _FIRST_RETRY_MS, _RETRY_STEP_MS, _RECONNECT_MS = 5, 50, 100, 100
_ATTEMPT_S = (_RETRIES * _FIRST_RETRY_MS + _RETRY_STEP_MS * _RETRIES * (_RETRIES - 1) / 2 + _RECONNECT_MS) / 1000


@dataclass(frozen=True)
class LinkTls:
    """Files, PEM, of TLS between the parties: own certificate and key, and the authority that signed everybody's.

    SPU takes any certificate of that authority from any peer: TLS here hides the traffic, it does not admit.
    """

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True)
class LinkConfig:
    """One party's end of the link.

    Attributes:
        rank: this party's place in `peers`.
        peers: id and address of every party: where this one listens, and where it finds the others.
        epoch: part of the link's name, so that messages of an earlier link are never taken for this one's.
        tls: None for plain TCP, behind a gateway or on one host.
        connect_timeout_s: to wait for the others to appear.
        recv_timeout_s: to wait for any one message.
        acknowledged: whether every message is answered by one. TCP makes that redundant, and without it a request costs
            a sixth less processor time; but SPU's `send` (not `send_async`) needs it, which CHEETAH uses.
    """

    rank: int
    peers: tuple[Peer, ...]
    epoch: int
    tls: LinkTls | None
    connect_timeout_s: float
    recv_timeout_s: float
    acknowledged: bool = False

    def describe(self, rank: int) -> str:
        """A peer, for a message to its operator."""
        return f"{self.peers[rank][0]} ({self.peers[rank][1]})"


def connect(config: LinkConfig) -> Any:
    """Join the others; returns SPU's link context, for one thread.

    Raises:
        PeerLost: a peer's name does not resolve, it does not answer, or its certificate is refused.
        WorkerFailed: this party's own address cannot be listened on.
    """
    deadline = time.monotonic() + config.connect_timeout_s
    for rank in range(len(config.peers)):
        _resolve(config, rank, deadline)
    try:
        return libspu.link.create_brpc(_describe(config), config.rank)
    except RuntimeError as error:
        raise explain(error, config) from None


def _resolve(config: LinkConfig, rank: int, deadline: float) -> None:
    """Wait until a name resolves: SPU gives up on one at once, and names may come up later than this party does."""
    host, _, port = config.peers[rank][1].rpartition(":")
    while True:
        try:
            socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            return
        except ValueError:
            raise WorkerFailed(f"the address of {config.describe(rank)} is not host:port") from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise PeerLost(f"the address of {config.describe(rank)} does not resolve: {error.strerror}") from None
            time.sleep(0.2)


_LAST_ACKNOWLEDGEMENT_S = 1.0
_NEXT = b"\0"  # not in JSON


def _describe(config: LinkConfig) -> Any:
    desc = libspu.link.Desc()
    desc.id = f"freediv-{config.epoch}"
    for name, address in config.peers:
        desc.add_party(name, address)
    desc.disable_msg_seq_id = not config.acknowledged
    desc.recv_timeout_ms = round(config.recv_timeout_s * 1000)
    desc.connect_retry_times = max(1, math.ceil(config.connect_timeout_s / _ATTEMPT_S))
    desc.connect_retry_interval_ms = _RECONNECT_MS
    retry = desc.retry_opts  # a reference, as are the options of TLS
    retry.max_retry, retry.retry_interval_ms, retry.retry_interval_incr_ms = _RETRIES, _FIRST_RETRY_MS, _RETRY_STEP_MS
    retry.max_retry_interval_ms, retry.aggressive_retry = 10_000, True
    if config.tls is not None:
        desc.enable_ssl = True
        for options in (desc.client_ssl_opts, desc.server_ssl_opts):
            options.cert.certificate_path = str(config.tls.certificate)
            options.cert.private_key_path = str(config.tls.key)
            options.verify.ca_file_path = str(config.tls.ca)
            options.verify.verify_depth = 1  # 0, the default, verifies nothing
    return desc


def explain(error: Exception, config: LinkConfig) -> WorkerFailed:
    """What an error of SPU's means to an operator."""
    text = str(error)
    if found := re.search(r"Get data timeout, key=\S*?(?::(\d+)->\d+|connect_(\d+))", text):
        peer = config.describe(int(found[1] or found[2]))
        return PeerLost(f"nothing came from {peer} for {config.recv_timeout_s:g} s")
    if found := re.search(r"failed to setup connection to rank=(\d+)", text):
        return PeerLost(f"{config.describe(int(found[1]))} did not answer within {config.connect_timeout_s:g} s")
    if "server failed start" in text:
        return WorkerFailed(f"cannot listen on {config.peers[config.rank][1]}: is the port in use?")
    broken = ("Get data timeout", "LinkError", "NetworkError", "Throttle window", "send, peer failed")
    if any(word in text for word in broken):
        return PeerLost(f"the link to the other parties broke ({first_line(error)})")
    return WorkerFailed(f"SPU: {first_line(error)}")


def lost_while_sending(log: str, config: LinkConfig) -> PeerLost | None:
    """Whether a worker ended because a message could not be sent (SPU then ends the process), by the end of its log."""
    failures = [line for line in log.splitlines() if "SendImpl error" in line]
    if not failures:
        return None
    for rank, (_, address) in enumerate(config.peers):
        if rank != config.rank and _endpoint(address) in failures[-1]:
            return PeerLost(f"{config.describe(rank)} is gone: it takes no more messages")
    return PeerLost("a message to another party could not be sent")


def _endpoint(address: str) -> str:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, ValueError):
        return f"{socket.gethostbyname(host)}:{port}"
    return f":{port}"


def first_line(error: Exception) -> str:
    """The line of SPU's error that says what happened, without its stack."""
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and line not in ("what:", "stacktrace:")]
    return lines[0][:300] if lines else type(error).__name__


def exchange(link: Any, config: LinkConfig, messages: Mapping[int, bytes]) -> tuple[dict[int, bytes], Traffic]:
    """Send every other party a message, by rank, and take theirs; all of them call this at the same point.

    Raises:
        PeerLost: a party does not answer.
    """
    try:
        for rank, message in messages.items():
            link.send_async(rank, message)
        answers = {rank: bytes(link.recv(rank)) for rank in messages}
    except RuntimeError as error:
        raise explain(error, config) from None
    sent, received = (sum(map(len, some.values())) for some in (messages, answers))
    return answers, Traffic(sent, received, len(messages), len(answers))


def agree(
    link: Any, config: LinkConfig, terms: Mapping[str, object], beside: Mapping[int, bytes] | None = None
) -> tuple[dict[int, bytes], Traffic]:
    """Make sure that all parties hold the same terms; all of them call this at the same point.

    Args:
        link, config: this party's end.
        terms: what has to be alike.
        beside: for each other party some bytes that need not be; what they had for this one is returned.

    Raises:
        ProgramMismatch: another's terms differ; names the first party and term that do.
        PeerLost: a party does not answer.
    """
    own, beside = json.dumps(terms, sort_keys=True).encode(), beside or {}
    others = [rank for rank in range(len(config.peers)) if rank != config.rank]
    messages = {rank: own + _NEXT + beside.get(rank, b"") for rank in others}
    answers, traffic = exchange(link, config, messages)
    theirs_beside = {}
    for rank, answer in answers.items():
        said, _, theirs_beside[rank] = answer.partition(_NEXT)
        if said != own:
            _leave(link, config)
            theirs = _object(said)
            key = next((k for k in sorted(terms) if theirs.get(k) != terms[k]), "terms")
            raise ProgramMismatch(f"{config.peers[rank][0]} has {key} {theirs.get(key)}, this party {terms.get(key)}")
    return theirs_beside, traffic


def _leave(link: Any, config: LinkConfig) -> None:
    """Wait until what was sent has arrived, and been acknowledged: a party that cannot send is ended by SPU.

    Where terms differ every party sees it, so all of them come here. SPU's own wait has no limit, should one be gone.
    """
    leaving = threading.Thread(target=link.stop_link, daemon=True)
    leaving.start()
    leaving.join(config.recv_timeout_s)
    time.sleep(_LAST_ACKNOWLEDGEMENT_S)


def _object(text: bytes) -> dict[str, object]:
    with contextlib.suppress(ValueError):
        if isinstance(found := json.loads(text), dict):
            return found
    return {}
