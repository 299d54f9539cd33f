"""What passes between a party and the process that holds its SPU runtime."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import UserError
from ...model import Architecture
from ...model.answers import Output
from ..link.transport import SECRET_BYTES, LinkConfig, Peer
from ..records import Cost
from ..sharing.settings import Lookup, Products, ProtocolSettings
from ..sharing.shares import Share


@dataclass(frozen=True)
class WorkerConfig:
    """All that a worker needs to know; checked when it is made.

    Attributes:
        rank, peers, secret, connect_timeout_s, recv_timeout_s, epoch: as in `LinkConfig`.
        settings: the protocol, of as many parties as there are peers.
        products: the engine, by its name in `engine`.
        lookup: how requests are written; points need `products` shares.
        threads: cores that this party may use.
        lanes: parts that a request of several sentences is computed in side by side, alike at all parties; more than
            one needs `products` shares: SPU runs one program after another.

    Raises:
        UserError: a setting is refused.
    """

    rank: int
    peers: tuple[Peer, ...]
    secret: bytes = field(repr=False)
    settings: ProtocolSettings = ProtocolSettings()
    products: Products = "spu"
    lookup: Lookup = "rows"
    threads: int = 1
    lanes: int = 1
    recv_timeout_s: float = 60.0
    connect_timeout_s: float = 60.0
    epoch: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < len(self.peers):
            raise ValueError(f"rank {self.rank} is not among {len(self.peers)} peers")
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"a link's secret has {SECRET_BYTES} bytes, not {len(self.secret)}")
        if self.threads < 1:
            raise UserError(f"threads {self.threads}: a party needs at least 1")
        if self.lanes < 1 or (self.lanes > 1 and self.products != "shares"):
            raise UserError(f"lanes {self.lanes}: at least 1, and more only with products: shares")
        if self.lookup == "points" and self.products != "shares":
            raise UserError("lookup points: only with products: shares")
        self.settings.insist_on_parties(len(self.peers))

    @property
    def link(self) -> LinkConfig:
        """This party's end of the link."""
        return LinkConfig(
            rank=self.rank,
            peers=self.peers,
            epoch=self.epoch,
            secret=self.secret,
            connect_timeout_s=self.connect_timeout_s,
            recv_timeout_s=self.recv_timeout_s,
            acknowledged=self.settings.name == "CHEETAH",
        )


@dataclass(frozen=True)
class RunResult:
    """What one party has of a request that went well.

    Attributes:
        output: its share of the labels (int32 [batch]) or logits (float32 [batch, labels]).
        sound: for each of the shares that the inputs came in, one below the other, whether the parties hold a sharing
            of something. Where not, zeros were run in its place, and its rows of the output are nobody's answer.
        cost: of the run; memory is the worker's process's.
    """

    output: Share
    sound: tuple[bool, ...]
    cost: Cost


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
