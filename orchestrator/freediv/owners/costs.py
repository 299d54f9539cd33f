"""What a data owner's requests cost, in the form that the table, the page, JSON and programs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

from ..cluster.configuration import Agreement
from ..model import Architecture
from ..monitoring.costs import CostRow, Figures, PartyCost, RequestCost, RunCost, cost_rows, total
from .session import RequestRecord

IN_USE = "the model in use"
"""What a data owner calls it, to whom nobody told its name."""


def run_cost(
    requests: Sequence[RequestRecord],
    architecture: Architecture,
    config: Agreement,
    *,
    command: Literal["demo", "infer"] = "infer",
    model: str = IN_USE,
) -> RunCost:
    """What all requests cost."""
    return RunCost(
        command=command,
        model=model,
        architecture=architecture,
        protocol=config.protocol,
        field=config.field,
        fraction_bits=config.fraction_bits,
        spu=version("spu"),
        output=config.output,
        requests=tuple(_request(one) for one in requests),
    )


def _request(request: RequestRecord) -> RequestCost:
    return RequestCost(
        batch=request.batch,
        length=request.length,
        seconds=request.seconds,
        preparation_seconds=min(request.seconds, max(party.preparation_seconds for party in request.parties)),
        upload_bytes=request.upload_bytes,
        run_requests=request.run_requests,
        run_sentences=request.run_sentences,
        parties=tuple(PartyCost.of(rank, cost) for rank, cost in enumerate(request.parties)),
    )


@dataclass(frozen=True)
class CallCost:
    """What one call of a program cost.

    Where its requests shared the parties' runs with others', the parties' figures are those of the whole runs.

    Attributes:
        run: all that was recorded, as `freediv infer --json` prints it; None where nothing was asked.
    """

    run: RunCost | None = field(default=None, repr=False)

    @property
    def seconds(self) -> float:
        """That its requests were waited for."""
        return self.run.seconds if self.run is not None else 0.0

    @property
    def upload_bytes(self) -> int:
        """Bytes of shares that were sent to all parties together."""
        return self.run.upload_bytes if self.run is not None else 0

    @property
    def layers(self) -> tuple[CostRow, ...]:
        """Each block of each layer, in the order they ran: bytes, messages and seconds of one party, in the mean."""
        return cost_rows(self.run) if self.run is not None else ()

    @property
    def one_party(self) -> Figures:
        """All layers together."""
        return total(self.layers)
