"""Requests of data owners, from the first byte of their shares to their end, as one party sees them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import grpc

from ..cluster.configuration import Agreement, Limits
from ..cluster.identity import Role
from ..model import Architecture
from ..mpc.lookup.form import PIECES, check_input, request_shapes
from ..mpc.records import Cost, StageRecord
from ..mpc.sharing.settings import ProtocolSettings
from ..mpc.sharing.shares import Share
from ..wire import protocol_pb2 as pb
from ..wire.share_transfer import BadTransfer, announced_bytes

Outcome = Literal["answered", "failed", "dropped", "refused"]
Limit = Literal["places", "bytes", "rate", "budget"]
"""What a request that is turned away would have exceeded."""
_LONGEST_WAIT_S = 60
"""What a caller is sent away for at most, before it may ask again."""


class Observer(Protocol):
    """Who hears what requests cost and how they end; called in the party's event loop."""

    def stage_finished(self, record: StageRecord) -> None:
        """A stage is over."""

    def request_finished(self, outcome: Outcome, seconds: float) -> None:
        """A request is over, so many seconds after it was accepted."""

    def turned_away(self, limit: Limit) -> None:
        """A request was refused because of a limit."""

    def unsound(self, owner: Role) -> None:
        """What an owner sent was run as nothing: no text of word pieces, or no sharing."""


class Refused(Exception):  # noqa: N818 (an event, not a mistake)
    """A call that is not answered: a gRPC status and one line for whoever called.

    With `retry_after_s` the same call may be answered after so many seconds; `limit` is what it would have exceeded.
    """

    def __init__(
        self, code: grpc.StatusCode, reason: str, *, retry_after_s: int | None = None, limit: Limit | None = None
    ) -> None:
        super().__init__(reason if retry_after_s is None else f"{reason}; come back in {retry_after_s} s")
        self.code = code
        self.retry_after_s = retry_after_s
        self.limit = limit


@dataclass(frozen=True)
class Ended:
    """A request's end without a result."""

    outcome: Outcome
    cause: str


@dataclass(frozen=True)
class Answered:
    """A request's end with a result.

    Attributes:
        output: this party's share of the answer to this request alone.
        cost: of the run, all requests that shared it together.
        requests, sentences: how many shared it.
    """

    output: Share
    cost: Cost
    requests: int
    sentences: int


Event = StageRecord | Answered | Ended


@dataclass
class Request:
    """One request at one party.

    `key` names owner and request, so that no owner can touch another one's. Its `inputs` are there once all has come;
    `began` is whether a run with it has, `answered` whether its result was given to whoever waits for its events.
    """

    key: str
    owner: Role
    model_id: str
    batch: int
    length: int
    shapes: Mapping[str, tuple[int, ...]]
    nbytes: int
    announced: tuple[pb.ShareDescription, ...]
    began: bool = False
    answered: bool = False
    inputs: dict[str, Share] = field(default_factory=dict, repr=False)
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue, repr=False)
    ended: Ended | None = None
    accepted: float = field(default_factory=time.monotonic)
    incarnation: bytes = b""

    @property
    def costs_nothing(self) -> bool:
        """Whether its owner learned nothing from it, and it is not the owner's doing that there is no more to it.

        Until a run has begun nothing is learned. Afterwards only parties can make a request fail: it is unsound input
        that is refused, and of an owner who went away nothing is heard here.
        """
        failed = self.ended is not None and self.ended.outcome == "failed"
        return not self.began or (failed and not self.answered)

    def answer(self, answer: Answered) -> None:
        """Hand out the result."""
        self.answered = True
        self.events.put_nowait(answer)

    def end(self, outcome: Outcome, cause: str) -> None:
        """Say that there will be no result; the first cause is the one that stands."""
        if self.ended is None:
            self.ended = Ended(outcome, cause)
            self.events.put_nowait(self.ended)


class Inbox:
    """The requests that a party holds, and what it takes in at most."""

    def __init__(self, agreement: Agreement, limits: Limits, rank: int) -> None:
        self._agreement, self._rank = agreement, rank
        self._limits = limits
        self._held: dict[str, Request] = {}
        self._expected: Counter[Role] = Counter()
        self._pace_s = 1.0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> Request | None:
        """A request by its key."""
        return self._held.get(key)

    def all(self) -> tuple[Request, ...]:
        """All requests, oldest first."""
        return tuple(self._held.values())

    @contextmanager
    def expecting(self, owner: Role) -> Iterator[None]:
        """While a request's call is open and its header has not come: it has a place already.

        Raises:
            Refused: there is none.
        """
        self._insist_on_a_place(owner)
        self._expected[owner] += 1
        try:
            yield
        finally:
            self._expected -= Counter((owner,))

    def admit(self, owner: Role, header: pb.InferHeader, model_id: str, architecture: Architecture) -> Request:
        """Take in a request whose header is sound; its shares may come.

        Raises:
            Refused: another model, a shape that the architecture does not allow, too much at a time.
        """
        if len(header.request_id) != 16:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "a request's id has 16 bytes")
        key = f"{owner}/{header.request_id.hex()}"
        if key in self._held:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "a request with this id is under way")
        if header.model_id != model_id:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "another model is in use by now; fetch it and ask again")
        shapes = self._shapes(header, architecture)
        nbytes = _announced(header, shapes)
        self._insist_on_room(owner, nbytes)
        request = Request(key, owner, model_id, header.batch, header.length, shapes, nbytes, tuple(header.inputs))
        self._held[key] = request
        return request

    def release(self, request: Request) -> None:
        """Forget a request and its shares."""
        self._held.pop(request.key, None)
        request.inputs = {}

    def ran(self, seconds: float) -> None:
        """A run took so long; how long a caller is sent away for depends on it."""
        self._pace_s += 0.3 * (seconds - self._pace_s)

    def _when(self) -> int:
        """When to come back, in seconds: when half of those who wait have had their turn, there is room again."""
        return min(_LONGEST_WAIT_S, max(1, math.ceil(self._pace_s * len(self._held) / 2)))

    def _insist_on_a_place(self, owner: Role) -> None:
        own = sum(request.owner == owner for request in self._held.values()) + self._expected[owner]
        held = len(self._held) + self._expected.total()
        most = self._limits.waiting_requests
        if not _has_room(own, held, 1, most):
            whose = f"{own} of yours among them" if own else "none of yours"
            reason = f"the party holds {held} of at most {most} requests, {whose}"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, retry_after_s=self._when(), limit="places")

    def _insist_on_room(self, owner: Role, nbytes: int) -> None:
        self._insist_on_a_place(owner)
        held, limits, full = self._held.values(), self._limits, grpc.StatusCode.RESOURCE_EXHAUSTED
        own = [request.nbytes for request in held if request.owner == owner]
        if not _has_room(sum(own), sum(request.nbytes for request in held), nbytes, limits.waiting_bytes):
            reason = f"the party has no room for another {nbytes} bytes of shares of yours"
            if nbytes > limits.waiting_bytes:
                raise Refused(full, f"{reason}, ever; send fewer sentences at a time", limit="bytes")
            raise Refused(full, reason, retry_after_s=self._when(), limit="bytes")

    def _shapes(self, header: pb.InferHeader, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        buckets = self._agreement.buckets_of(architecture)
        if not 1 <= header.batch <= self._agreement.max_batch:
            raise _invalid(f"a request has 1 to {self._agreement.max_batch} sentences, not {header.batch}")
        if header.length not in buckets:
            reads = "sentences are padded to" if architecture.padded else "images have"
            pieces = "word pieces" if architecture.padded else "rows"
            raise _invalid(f"{reads} {', '.join(map(str, buckets))} {pieces}, not {header.length}")
        return request_shapes(architecture, header.batch, header.length, self._agreement.lookup, self._rank)


def _announced(header: pb.InferHeader, shapes: Mapping[str, tuple[int, ...]]) -> int:
    # First how many there are: a message has room for a million.
    if len(header.inputs) != len(shapes) or sorted(one.name for one in header.inputs) != sorted(shapes):
        raise _invalid(f"the model reads {', '.join(sorted(shapes))}; other inputs were sent")
    try:
        return sum(announced_bytes(one, _most(one.name, shapes[one.name])) for one in header.inputs)
    except BadTransfer as error:
        raise _invalid(str(error)) from error


def _has_room(own: int, held: int, more: int, most: int) -> bool:
    """Whether an owner may have more: what it has already must not exceed what would be left.

    One owner alone so fills half, and however many there are, a newcomer finds a place.
    """
    return own <= most - held - more


def _most(name: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) if name == PIECES else most_bytes(shape)


def most_bytes(shape: tuple[int, ...]) -> int:
    """The most that a share of this shape may take: two ring elements of 8 bytes for each number."""
    return 16 * math.prod(shape) + (1 << 16)


def check_inputs(
    inputs: Mapping[str, Share], shapes: Mapping[str, tuple[int, ...]], settings: ProtocolSettings
) -> None:
    """Insist that all shares are what their request said.

    Raises:
        Refused: one is not.
    """
    for name, shape in shapes.items():
        try:
            check_input(name, inputs[name], shape, settings)
        except ValueError as error:
            raise _invalid(f"input {name}: {error}") from error


def _invalid(reason: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
