"""What requests cost, as data: what every party recorded, and the figures that the table and the page show.

Nothing here holds a text, a prediction, a share or a key: a record says how long and how much, never what.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ..errors import UserError, one_line
from ..model import Architecture
from ..model.answers import Output
from ..mpc.records import Cost, StageRecord

Shown = Annotated[str, AfterValidator(one_line)]
"""Records may be anybody's, and go to a terminal."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartyCost(_Record):
    """One party's view of one request, as files keep it: its stages, and the totals of its link (bytes, messages)."""

    rank: int = Field(ge=0)
    stages: tuple[StageRecord, ...] = Field(min_length=1)
    link_sent_bytes: int = Field(ge=0)
    link_received_bytes: int = Field(ge=0)
    link_sent_messages: int = Field(ge=0)
    link_received_messages: int = Field(ge=0)
    peak_memory_bytes: int | None = Field(default=None, ge=0)

    @classmethod
    def of(cls, rank: int, cost: Cost) -> PartyCost:
        """What a run cost the party of a rank."""
        return cls(rank=rank, stages=cost.stages, peak_memory_bytes=cost.peak_memory_bytes, **cost.link_counts)

    @field_validator("stages")
    @classmethod
    def _named(cls, stages: tuple[StageRecord, ...]) -> tuple[StageRecord, ...]:
        if not all(stage.named for stage in stages):
            raise ValueError("a name is no stage's")
        return stages


class RequestCost(_Record):
    """One request as every party saw it.

    `batch` sentences padded to `length` word pieces. `seconds` is what the data owner waited, `preparation_seconds` the
    part of it spent on compiling programs for a new shape, `upload_bytes` the shares sent to all parties together.
    Where the parties ran several requests together, `run_requests` with `run_sentences`, costs are those of the run.
    """

    batch: int = Field(ge=1)
    length: int = Field(ge=1)
    seconds: float = Field(ge=0)
    preparation_seconds: float = Field(default=0.0, ge=0)
    upload_bytes: int = Field(ge=0)
    run_requests: int = Field(default=1, ge=1)
    run_sentences: int | None = Field(default=None, ge=1)
    parties: tuple[PartyCost, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _same_stages(self) -> RequestCost:
        if sorted(party.rank for party in self.parties) != list(range(len(self.parties))):
            raise ValueError(f"parties are ranked {[p.rank for p in self.parties]}, not 0 to {len(self.parties) - 1}")
        names = [stage.stage for stage in self.parties[0].stages]
        for party in self.parties[1:]:
            if [stage.stage for stage in party.stages] != names:
                raise ValueError(f"party {party.rank} recorded other stages than party {self.parties[0].rank}")
        return self


class RunCost(_Record):
    """Requests to one deployment with one model, and what is public about both."""

    format: Literal["freediv-cost-1"] = "freediv-cost-1"
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(timezone.utc))
    command: Literal["demo", "infer"]
    model: Shown
    architecture: Architecture
    protocol: Shown
    field: Shown
    fraction_bits: int
    spu: Shown
    output: Output
    requests: tuple[RequestCost, ...] = Field(min_length=1)

    @property
    def sentences(self) -> int:
        """Number of sentences over all requests."""
        return sum(request.batch for request in self.requests)

    @property
    def parties(self) -> int:
        """Number of parties: the world size."""
        return len(self.requests[0].parties)

    @property
    def seconds(self) -> float:
        """Seconds that the data owner waited, over all requests."""
        return sum(request.seconds for request in self.requests)

    @property
    def model_name(self) -> str:
        """The model's name, without the directories that lead to it."""
        return Path(self.model).name

    @property
    def preparation_seconds(self) -> float:
        """The part of `seconds` that went into compiling programs for new shapes."""
        return sum(request.preparation_seconds for request in self.requests)

    @property
    def upload_bytes(self) -> int:
        """Bytes of shares that the data owner sent, to all parties together."""
        return sum(request.upload_bytes for request in self.requests)

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest memory that any party reached, where parties reported it."""
        peaks = [p.peak_memory_bytes for r in self.requests for p in r.parties if p.peak_memory_bytes is not None]
        return max(peaks, default=None)

    @model_validator(mode="after")
    def _same_parties(self) -> RunCost:
        if {len(request.parties) for request in self.requests} != {self.parties}:
            raise ValueError("requests were answered by different numbers of parties")
        return self


@dataclass(frozen=True)
class Figures:
    """Bytes, messages (sent) and seconds: one party's, or a mean over parties."""

    sent_bytes: float = 0.0
    received_bytes: float = 0.0
    messages: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.sent_bytes + other.sent_bytes,
            self.received_bytes + other.received_bytes,
            self.messages + other.messages,
            self.seconds + other.seconds,
        )

    def scaled(self, factor: float) -> Figures:
        """Every figure times `factor`."""
        return Figures(
            self.sent_bytes * factor, self.received_bytes * factor, self.messages * factor, self.seconds * factor
        )


@dataclass(frozen=True)
class CostRow:
    """One block of one layer: the mean over parties of its sum over requests."""

    layer: int | None
    block: str
    figures: Figures

    @property
    def layer_name(self) -> str:
        """`layer 3`; the block's own name where it belongs to no layer."""
        return self.block if self.layer is None else f"layer {self.layer}"


def block_name(block: str) -> str:
    """A block as people read it: `feed-forward`."""
    return block.replace("_", "-")


def _figures(stage: StageRecord) -> Figures:
    return Figures(stage.sent_bytes, stage.received_bytes, stage.sent_messages, stage.seconds)


def cost_rows(run: RunCost) -> tuple[CostRow, ...]:
    """A row for each block of each layer, in the order they ran: means over parties, sums over requests."""
    sums: dict[tuple[int | None, str], Figures] = {}
    for request in run.requests:
        for party in request.parties:
            for stage in party.stages:
                key = (stage.layer, stage.block)
                sums[key] = sums.get(key, Figures()) + _figures(stage)
    return tuple(CostRow(layer, block, total.scaled(1 / run.parties)) for (layer, block), total in sums.items())


def total(rows: tuple[CostRow, ...]) -> Figures:
    """The sum of the rows."""
    return sum((row.figures for row in rows), Figures())


def party_figures(run: RunCost) -> tuple[Figures, ...]:
    """For each party, by rank, the sum over its stages and requests."""
    by_rank = [Figures() for _ in range(run.parties)]
    for request in run.requests:
        for party in request.parties:
            by_rank[party.rank] += sum((_figures(stage) for stage in party.stages), Figures())
    return tuple(by_rank)


def link_share(run: RunCost) -> float:
    """Bytes in the rows over bytes that the parties' links counted in all: 1.0 when every byte is accounted for."""
    counted = sum(party.link_sent_bytes for request in run.requests for party in request.parties)
    rows = sum(figures.sent_bytes for figures in party_figures(run))
    return rows / counted if counted else 1.0


def read_run(path: Path) -> tuple[RunCost, list[dict[str, Any]]]:
    """Read what `infer --json` or `demo --json` printed, or a bare `RunCost`; its predictions come second.

    Raises:
        UserError: the file is missing, is not JSON, or holds no records; the message names the offending key.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give the output of `freediv infer --json`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON ({error}); give the output of `freediv infer --json`") from error
    predictions: list[dict[str, Any]] = []
    if isinstance(document, dict) and "cost" in document:
        predictions = document.get("predictions") or []
        document = document["cost"]
    try:
        return RunCost.model_validate(document), predictions
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        raise UserError(
            f"{path}: at {where}: {first['msg'].lower()}; give the output of `freediv infer --json`"
        ) from error
