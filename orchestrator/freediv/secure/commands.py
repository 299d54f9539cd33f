"""What passes between a party and the process that holds its SPU runtime."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import UserError
from ..transformer import Architecture
from .link import LinkConfig, LinkTls, Peer
from .protocol import ProtocolSettings
from .records import StageRecord
from .shares import Share

Output = Literal["label", "logits"]


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to know; checked when it is made.

    Attributes:
        rank, peers, tls, connect_timeout_s, recv_timeout_s, epoch: as in `LinkConfig`.
        protocol, field, fraction_bits, beaver: as in `ProtocolSettings`.
        products: the engine, by its name in `engine`.
        threads: cores that this party may use.
        lanes: parts that a request of several sentences is computed in side by side, alike at all parties; more than
            one needs `products` shares: SPU runs one program after another.
        log_directory: where a private directory for SPU's log is made; None: the system's place for such.

    Raises:
        UserError: a setting is refused.
    """

    rank: int
    peers: tuple[Peer, ...]
    tls: LinkTls | None = None
    protocol: str = "ABY3"
    field: str = "FM64"
    fraction_bits: int = 18
    beaver: str | None = None
    products: str = "spu"
    threads: int = 1
    lanes: int = 1
    recv_timeout_s: float = 60.0
    connect_timeout_s: float = 60.0
    epoch: int = 0
    log_directory: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rank < len(self.peers):
            raise ValueError(f"rank {self.rank} is not among {len(self.peers)} peers")
        if self.threads < 1:
            raise UserError(f"threads {self.threads}: a party needs at least 1")
        if self.lanes < 1 or (self.lanes > 1 and self.products != "shares"):
            raise UserError(f"lanes {self.lanes}: at least 1, and more only with products: shares")
        _ = self.settings

    @property
    def settings(self) -> ProtocolSettings:
        """The protocol."""
        return ProtocolSettings(self.protocol, self.field, self.fraction_bits, len(self.peers), self.beaver)

    @property
    def link(self) -> LinkConfig:
        """This party's end of the link."""
        return LinkConfig(
            rank=self.rank,
            peers=self.peers,
            epoch=self.epoch,
            tls=self.tls,
            connect_timeout_s=self.connect_timeout_s,
            recv_timeout_s=self.recv_timeout_s,
            acknowledged=self.protocol == "CHEETAH",
        )


@dataclass(frozen=True)
class RunResult:
    """What one party has of a request that went well.

    Attributes:
        output: its share of the labels (int32 [batch]) or logits (float32 [batch, labels]).
        sound: for each of the shares that the inputs came in, one below the other, whether the parties hold a sharing
            of something. Where not, zeros were run in its place, and its rows of the output are nobody's answer.
        records: one per stage, in order.
        link_sent_bytes, link_received_bytes, link_sent_messages, link_received_messages: all that SPU's link carried
            for the request: the stages, and the parties' agreement before them.
        wire_sent_bytes, wire_received_bytes: what the kernel counted on this party's connections meanwhile: content,
            framing, acknowledgements and TLS.
        peak_memory_bytes: of the process, up to now.
        preparation_seconds: spent on compiling; no part of any stage.
    """

    output: Share
    sound: tuple[bool, ...]
    records: tuple[StageRecord, ...]
    link_sent_bytes: int
    link_received_bytes: int
    link_sent_messages: int
    link_received_messages: int
    wire_sent_bytes: int
    wire_received_bytes: int
    peak_memory_bytes: int
    preparation_seconds: float


@dataclass(frozen=True)
class Connect:
    """Join the other parties."""


@dataclass(frozen=True)
class Load:
    """Take a model's weight shares from disk, beside the model in use; go on with it, where that is begun already.

    After `seconds` the answer is that not all is there yet, so that requests can be run in between. What is wrong with
    the files is an answer too: the model in use does not suffer.
    """

    architecture: Architecture
    output: Output
    weights: Path
    model_id: str
    seconds: float = math.inf


@dataclass(frozen=True)
class Use:
    """Run requests with the model that was loaded last, and forget the one before."""

    model_id: str


@dataclass(frozen=True)
class Prepare:
    """Compile for one shape."""

    batch: int
    length: int


@dataclass(frozen=True)
class Run:
    """Answer a request."""

    request_id: str
    batch: int
    length: int
    inputs: dict[str, tuple[Share, ...]]


Command = Connect | Load | Use | Prepare | Run


@dataclass(frozen=True)
class Progress:
    """Bytes of weight shares loaded so far, and of all."""

    done: int
    total: int


@dataclass(frozen=True)
class Done:
    """A command's answer."""

    answer: object


@dataclass(frozen=True)
class Failed:
    """A command failed with this; the process ends."""

    error: Exception
