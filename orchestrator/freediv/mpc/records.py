"""What a secure run costs, per stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from ..model import BlockName, Stage

_LONGEST_NAME = 64


@dataclass(frozen=True)
class Traffic:
    """What one party sent and received: bytes of content (without the transport's framing) and messages."""

    sent_bytes: int = 0
    received_bytes: int = 0
    sent_messages: int = 0
    received_messages: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Traffic)))


@dataclass(frozen=True)
class StageRecord:
    """One stage of one request, as one party saw it; `seconds` by the clock, waiting for the others included."""

    stage: str
    layer: int | None
    block: BlockName
    seconds: float
    sent_bytes: int
    received_bytes: int
    sent_messages: int
    received_messages: int

    @property
    def traffic(self) -> Traffic:
        """Its counts."""
        return Traffic(self.sent_bytes, self.received_bytes, self.sent_messages, self.received_messages)

    @property
    def named(self) -> bool:
        """Whether its name can be a stage's, which others' records need not have."""
        return len(self.stage) <= _LONGEST_NAME and self.stage.isprintable()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StageRecord:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is missing, unknown or of the wrong kind.
        """
        if set(values) != {f.name for f in fields(cls)}:
            raise ValueError("a stage record has other fields than it should")
        record = cls(**values)
        counts = (record.sent_bytes, record.received_bytes, record.sent_messages, record.received_messages)
        numbers = all(type(n) is int and n >= 0 for n in counts) and type(record.seconds) in (int, float)
        layer = record.layer is None or (type(record.layer) is int and record.layer >= 0)
        if not (numbers and record.seconds >= 0 and layer and isinstance(record.stage, str)):
            raise ValueError("a stage record holds a value of the wrong kind")
        if not record.named:
            raise ValueError("a stage record's name is no stage's")
        if record.block not in get_args(BlockName):
            raise ValueError("a stage record names a block that there is not")
        return record


@dataclass(frozen=True)
class Cost:
    """What a run cost one party.

    Attributes:
        stages: one record per stage, in order.
        link: all that SPU's link carried for the run: the stages, and the parties' agreement before them.
        peak_memory_bytes: the most that the party held, up to now.
        preparation_seconds: spent on compiling; no part of any stage.
        wire_sent_bytes, wire_received_bytes: what the kernel counted on the party's connections meanwhile: content,
            framing and acknowledgements; of parties on one machine, which have no network between them, nothing. None:
            not told, as to owners.
    """

    stages: tuple[StageRecord, ...]
    link: Traffic
    peak_memory_bytes: int
    preparation_seconds: float
    wire_sent_bytes: int | None = None
    wire_received_bytes: int | None = None

    @property
    def link_counts(self) -> dict[str, int]:
        """Those of the link, by the names that messages and files have for them."""
        return {f"link_{name}": count for name, count in asdict(self.link).items()}


class Records:
    """Those of a request, whose stages may be run for several parts of it at the same time.

    A stage is over when it is for all parts; it cost what they cost together, and took the time since the stage before
    was over.
    """

    def __init__(self, stages: Sequence[Stage], parts: int, report: Callable[[StageRecord], None]) -> None:
        self._parts, self._report = parts, report
        self._found: dict[str, list[Traffic]] = {stage.name: [] for stage in stages}
        self._records: list[StageRecord] = []
        self._lock, self._last = threading.Lock(), time.perf_counter()

    def add(self, stage: Stage, traffic: Traffic) -> None:
        """A stage has been run for a part."""
        with self._lock:
            found = self._found[stage.name]
            found.append(traffic)
            if len(found) == self._parts:
                now = time.perf_counter()
                cost = asdict(sum(found, Traffic()))
                self._records.append(StageRecord(stage.name, stage.layer, stage.block, now - self._last, **cost))
                self._last = now
                self._report(self._records[-1])

    @property
    def all(self) -> tuple[StageRecord, ...]:
        """One of each stage, in order."""
        return tuple(self._records)

    @property
    def traffic(self) -> list[Traffic]:
        """Of each stage."""
        return [record.traffic for record in self._records]
