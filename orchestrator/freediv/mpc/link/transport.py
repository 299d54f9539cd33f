"""The link between the parties: SPU's own transport, made from a configuration, waited for, and measured.

SPU's server asks nobody who they are: it takes a message of any sender that can reach it, and finds by its key, in
which a link's name comes first, what it is for. So each link has a secret of 128 random bits, which rank 0 draws and
tells the parties over gRPC's mutual TLS alone:
- The link's name is made of it: nobody else can name a message that a party waits for.
- What decides what is run (the terms that parties compare, digests and verdicts: `exchange`, `agree`) carries a code
  under a key made of it, for one sender, receiver, purpose and place in order: even who reads the link's name could
  neither change nor repeat it.
What SPU itself and the products on shares send carries no code: it is as safe as the link's name, and as the way that
the link takes. And SPU keeps whatever comes, named rightly or not, so nobody else may reach it:
- Parties on one machine meet at Unix sockets, in a directory that only their user may enter.
- Between machines a gateway beside each party carries the link (`deploy/containers`). SPU meets it at Unix sockets
  again, or in containers on the loopback of a network namespace in which nobody else is.
Not held back is who runs as the parties' own user or as root, and could read their memory as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..records import Traffic
from ..spu_library import libspu
from .failures import NotBegun, PeerLost, ProgramMismatch, WorkerFailed

Peer = tuple[str, str]
"""A party's id and its address: host:port, unix:path, or `ON_THIS_MACHINE`."""
ON_THIS_MACHINE = ""
"""In the place of all addresses: the parties are processes of one user, and meet in a directory of theirs alone."""
SECRET_BYTES = 16
"""Of a link's secret."""

_LONGEST_DIRECTORY = 100
"""A socket's path has at most 107 bytes (unix(7))."""
_RETRIES, _FIRST_RETRY_MS, _RETRY_STEP_MS, _RECONNECT_MS = 5, 50, 100, 100
_ATTEMPT_S = (_RETRIES * _FIRST_RETRY_MS + _RETRY_STEP_MS * _RETRIES * (_RETRIES - 1) / 2 + _RECONNECT_MS) / 1000


@dataclass(frozen=True)
class LinkConfig:
    """One party's end of the link.

    Attributes:
        rank: this party's place in `peers`.
        peers: id and address of every party: where this one listens, and where it finds the others.
        epoch: the link's number, which everybody may know: a later link has a larger one.
        secret: random, for this link alone, and known to its parties alone; `SECRET_BYTES` of it.
        connect_timeout_s: to wait for the others to appear.
        recv_timeout_s: to wait for any one message.
        acknowledged: whether every message is answered by one. TCP makes that redundant, and without it a request costs
            a sixth less processor time; but SPU's `send` (not `send_async`) needs it, which CHEETAH uses.
    """

    rank: int
    peers: tuple[Peer, ...]
    epoch: int
    secret: bytes = field(repr=False)
    connect_timeout_s: float
    recv_timeout_s: float
    acknowledged: bool = False

    @property
    def name(self) -> str:
        """The beginning of every message's key; as secret as `secret`."""
        return f"freediv-{self.epoch}-{self.derived('name')[:SECRET_BYTES].hex()}"

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, by HKDF (RFC 5869) from the link's secret."""
        return HKDF(hashes.SHA256(), 32, None, f"freediv link {self.epoch} {purpose}".encode()).derive(self.secret)

    def describe(self, rank: int) -> str:
        """A peer, for a message to its operator."""
        name, address = self.peers[rank]
        return f"{name} ({address})" if address else name

    @property
    def directory(self) -> Path | None:
        """Where the sockets of parties on this machine are: by its name nobody else can take its place before them."""
        if any(address for _, address in self.peers):
            return None
        return Path(tempfile.gettempdir(), f"freediv-link-{self.derived('directory')[:8].hex()}")

    def address(self, rank: int) -> str:
        """Where SPU listens, or looks for a party; from within `directory` where its path is too long for a socket."""
        directory = self.directory
        if directory is None:
            return self.peers[rank][1]
        return f"unix:{rank}" if _too_long(directory) else f"unix:{directory / str(rank)}"


class Link:
    """One party's end of a link that is up.

    Attributes:
        config: what it was made from.
        context: SPU's link context, for one thread.
    """

    def __init__(self, context: Any, config: LinkConfig) -> None:
        self.context, self.config = context, config
        ways = [(config.rank, other) for other in self.others] + [(other, config.rank) for other in self.others]
        self._keys = {way: config.derived(f"messages {way[0]} -> {way[1]}") for way in ways}
        self._counts: Counter[tuple[int, int]] = Counter()

    @property
    def others(self) -> list[int]:
        """The ranks of all other parties."""
        return [rank for rank in range(len(self.config.peers)) if rank != self.config.rank]

    def exchange(self, purpose: str, messages: Mapping[int, bytes]) -> tuple[dict[int, bytes], Traffic]:
        """Send every other party a message, by rank, and take theirs; all of them call this at the same point.

        Args:
            purpose: what the messages are, alike at all parties.
            messages: to each other party.

        Raises:
            PeerLost: a party does not answer.
            WorkerFailed: what came from a party was not sent by it, or not for this purpose, or not now.
        """
        sealed = {
            rank: message + self._code(self.config.rank, rank, purpose, message) for rank, message in messages.items()
        }
        try:
            for rank, message in sealed.items():
                self.context.send_async(rank, message)
            came = {rank: bytes(self.context.recv(rank)) for rank in messages}
        except RuntimeError as error:
            raise explain(error, self.config) from None
        answers = {rank: self._opened(rank, purpose, message) for rank, message in came.items()}
        sent, received = (sum(map(len, some.values())) for some in (sealed, came))
        return answers, Traffic(sent, received, len(sealed), len(came))

    def _opened(self, sender: int, purpose: str, sealed: bytes) -> bytes:
        message, code = sealed[:-_CODE_BYTES], sealed[-_CODE_BYTES:]
        if not hmac.compare_digest(code, self._code(sender, self.config.rank, purpose, message)):
            raise WorkerFailed(
                f"what came in the place of {self.config.peers[sender][0]}'s {purpose} is not from that party: "
                "somebody else writes into the link"
            )
        return message

    def _code(self, sender: int, receiver: int, purpose: str, message: bytes) -> bytes:
        """HMAC-SHA256 of a message, of which every next one between two parties has another number."""
        way = (sender, receiver)
        number, self._counts[way] = self._counts[way], self._counts[way] + 1
        return hmac.digest(self._keys[way], b"%d %s\0%s" % (number, purpose.encode(), message), "sha256")

    def agree(
        self, terms: Mapping[str, object] | None, beside: Mapping[int, bytes] | None = None
    ) -> tuple[dict[int, bytes], Traffic]:
        """Make sure that all parties hold the same terms; all of them call this at the same point.

        Args:
            terms: what has to be alike; None: this party cannot do what comes next, and lets the others know.
            beside: for each other party some bytes that need not be; what they had for this one is returned.

        Raises:
            NotBegun: a party cannot do what comes next; names one. All raise this, and the link stays in step.
            ProgramMismatch: another's terms differ; names the first party and term that do.
            PeerLost: a party does not answer.
            WorkerFailed: as `exchange` does.
        """
        own, beside = _UNABLE if terms is None else json.dumps(terms, sort_keys=True).encode(), beside or {}
        answers, traffic = self.exchange("terms", {rank: own + _NEXT + beside.get(rank, b"") for rank in self.others})
        said_by, theirs_beside = {self.config.rank: own}, dict[int, bytes]()
        for rank, answer in answers.items():
            said_by[rank], _, theirs_beside[rank] = answer.partition(_NEXT)
        if _UNABLE in said_by.values():
            rank = min(rank for rank, said in said_by.items() if said == _UNABLE)
            raise NotBegun(f"{self.config.peers[rank][0]} could not begin the run; its log says why")
        assert terms is not None
        for rank, said in said_by.items():
            if said != own:
                self._leave()
                theirs, name = _object(said), self.config.peers[rank][0]
                key = next((k for k in sorted(terms) if theirs.get(k) != terms[k]), "terms")
                raise ProgramMismatch(f"{name} has {key} {theirs.get(key)}, this party {terms.get(key)}")
        return theirs_beside, traffic

    def _leave(self) -> None:
        """Wait until what was sent has arrived, and been acknowledged: a party that cannot send is ended by SPU.

        Where terms differ every party sees it, so all of them come here. SPU's own wait has no limit, should one be
        gone.
        """
        leaving = threading.Thread(target=self.context.stop_link, daemon=True)
        leaving.start()
        leaving.join(self.config.recv_timeout_s)
        time.sleep(_LAST_ACKNOWLEDGEMENT_S)


_CODE_BYTES = hashlib.sha256().digest_size
_LAST_ACKNOWLEDGEMENT_S = 1.0
_NEXT = b"\0"  # not in JSON
_UNABLE = b"unable"  # nor is this


def connect(config: LinkConfig) -> Link:
    """Join the others.

    Raises:
        PeerLost: a peer's name does not resolve, or it does not answer.
        WorkerFailed: this party's own address cannot be listened on.
    """
    deadline = time.monotonic() + config.connect_timeout_s
    if config.directory is not None:
        _enter(config.directory)
    else:
        for rank, (_, address) in enumerate(config.peers):
            if not address.startswith("unix:"):
                _resolve(config, rank, deadline)
            elif rank == config.rank:
                # What is left of a worker before this one, if it was killed.
                Path(address.removeprefix("unix:")).unlink(missing_ok=True)
    try:
        return Link(libspu.link.create_brpc(_describe(config), config.rank), config)
    except RuntimeError as error:
        raise explain(error, config) from None


def _enter(directory: Path) -> None:
    """Make a directory for this user alone, unless a peer was faster; whatever else is there is refused."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise WorkerFailed(f"{directory}: cannot be made ({error.strerror})") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise WorkerFailed(
            f"{directory}: is not this user's alone; parties on one machine run as one user, "
            "or have gateways (`gateway: true` in the topology)"
        )
    if _too_long(directory):
        os.chdir(directory)  # of the worker's process, which has no other use for it


def _too_long(directory: Path) -> bool:
    return len(os.fsencode(directory)) > _LONGEST_DIRECTORY


def leave(config: LinkConfig) -> None:
    """Remove the directory of a link on this machine, once a party has left it: nobody can join it any more."""
    if config.directory is not None:
        shutil.rmtree(config.directory, ignore_errors=True)


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


def _describe(config: LinkConfig) -> Any:
    desc = libspu.link.Desc()
    desc.id = config.name
    for rank, (name, _) in enumerate(config.peers):
        desc.add_party(name, config.address(rank))
    desc.disable_msg_seq_id = not config.acknowledged
    desc.recv_timeout_ms = round(config.recv_timeout_s * 1000)
    desc.connect_retry_times = max(1, math.ceil(config.connect_timeout_s / _ATTEMPT_S))
    desc.connect_retry_interval_ms = _RECONNECT_MS
    retry = desc.retry_opts  # a reference
    retry.max_retry, retry.retry_interval_ms, retry.retry_interval_incr_ms = _RETRIES, _FIRST_RETRY_MS, _RETRY_STEP_MS
    retry.max_retry_interval_ms, retry.aggressive_retry = 10_000, True
    return desc


def explain(error: Exception, config: LinkConfig) -> WorkerFailed:
    """What an error of SPU's means to an operator."""
    text = without_name(str(error), config)
    if found := re.search(r"Get data timeout, key=\S*?(?::(\d+)->\d+|connect_(\d+))", text):
        peer = config.describe(int(found[1] or found[2]))
        return PeerLost(f"nothing came from {peer} for {config.recv_timeout_s:g} s")
    if found := re.search(r"failed to setup connection to rank=(\d+)", text):
        return PeerLost(f"{config.describe(int(found[1]))} did not answer within {config.connect_timeout_s:g} s")
    if "server failed start" in text:
        return WorkerFailed(f"cannot listen on {config.address(config.rank)}: is the port in use?")
    broken = ("Get data timeout", "LinkError", "NetworkError", "Throttle window", "send, peer failed")
    if any(word in text for word in broken):
        return PeerLost(f"the link to the other parties broke ({_first_line(text)})")
    return WorkerFailed(f"SPU: {_first_line(text) or type(error).__name__}")


def without_name(text: str, config: LinkConfig) -> str:
    """Words of SPU's, as others may see them."""
    return text.replace(config.name, f"link-{config.epoch}")


def lost_while_sending(log: str, config: LinkConfig) -> PeerLost | None:
    """Whether a worker ended because a message could not be sent (SPU then ends the process), by the end of its log."""
    failures = [line for line in log.splitlines() if "SendImpl error" in line]
    if not failures:
        return None
    for rank in range(len(config.peers)):
        if rank != config.rank and _endpoint(config.address(rank)) in failures[-1]:
            return PeerLost(f"{config.describe(rank)} is gone: it takes no more messages")
    return PeerLost("a message to another party could not be sent")


def _endpoint(address: str) -> str:
    """An address as SPU's log has it."""
    if address.startswith("unix:"):
        return f"{address} "
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, ValueError):
        return f"{socket.gethostbyname(host)}:{port}"
    return f":{port}"


def _first_line(text: str) -> str:
    """The line of SPU's error that says what happened, without its stack."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and line not in ("what:", "stacktrace:")), "")[:300]


def _object(text: bytes) -> dict[str, object]:
    with contextlib.suppress(ValueError):
        if isinstance(found := json.loads(text), dict):
            return found
    return {}
