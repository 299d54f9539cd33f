"""A party's `/metrics`: what its stages and requests added up to, read at every scrape.

Nothing that comes from a request's owner becomes a label, and no metric has more than `MOST_LABEL_SETS` of them.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import get_args

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ..cluster.identity import Role
from ..errors import UserError
from ..model import Architecture
from ..mpc.records import StageRecord
from ..party.requests import Limit, Outcome
from .http_server import MetricsServer

MOST_LABEL_SETS = 99
REST = "rest"
"""The `layer` of what would go beyond `MOST_LABEL_SETS`, in a model of more than 46 layers."""

STAGE_SECONDS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
REQUEST_SECONDS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass
class Durations:
    """A histogram: counts below each bound (seconds), and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        names = (*map(str, self.bounds), "+Inf")
        return [(name, sum(self.counts[: index + 1])) for index, name in enumerate(names)]


@dataclass
class StageTotals:
    """What the runs of one block of one layer added up to."""

    sent_bytes: int = 0
    received_bytes: int = 0
    messages: int = 0
    seconds: Durations = field(default_factory=lambda: Durations(STAGE_SECONDS))


class Ledger:
    """Adds up what a party did since it started. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[tuple[str, str], StageTotals] = {}
        self._outcomes: dict[str, int] = dict.fromkeys(get_args(Outcome), 0)
        self._turned_away: dict[str, int] = dict.fromkeys(get_args(Limit), 0)
        self._unsound: Counter[Role] = Counter()
        self._requests = Durations(REQUEST_SECONDS)

    def stage_finished(self, record: StageRecord) -> None:
        """Add one stage's record."""
        key = (record.block if record.layer is None else str(record.layer), record.block)
        with self._lock:
            # Blocks are few, and each may need a row of its own for the rest.
            if key not in self._stages and len(self._stages) >= MOST_LABEL_SETS - 4:
                key = (REST, record.block)
            totals = self._stages.setdefault(key, StageTotals())
            totals.sent_bytes += record.sent_bytes
            totals.received_bytes += record.received_bytes
            totals.messages += record.sent_messages
            totals.seconds.add(record.seconds)

    def request_finished(self, outcome: Outcome, seconds: float) -> None:
        """Count one request, and the seconds from its acceptance to its end."""
        with self._lock:
            self._outcomes[outcome] += 1
            self._requests.add(seconds)

    def turned_away(self, limit: Limit) -> None:
        """Count one request that was refused because of a limit."""
        with self._lock:
            self._turned_away[limit] += 1

    def unsound(self, owner: Role) -> None:
        """Count one request of an owner that was no text of word pieces."""
        with self._lock:
            self._unsound[owner] += 1

    def metrics(self) -> list[Metric]:
        """The totals as metric families."""
        labels = ("layer", "block")
        sent = CounterMetricFamily("freediv_layer_sent_bytes", "Bytes that this party sent, by layer.", labels=labels)
        received = CounterMetricFamily(
            "freediv_layer_received_bytes", "Bytes that this party received, by layer.", labels=labels
        )
        messages = CounterMetricFamily(
            "freediv_layer_messages", "Messages that this party sent, by layer.", labels=labels
        )
        seconds = HistogramMetricFamily("freediv_layer_seconds", "Seconds that one run of a block took.", labels=labels)
        requests = CounterMetricFamily("freediv_requests", "Requests, by how they ended.", labels=("outcome",))
        turned_away = CounterMetricFamily(
            "freediv_turned_away", "Requests refused because of a limit, by which.", labels=("limit",)
        )
        # Of whom it is, is in the party's log.
        unsound = GaugeMetricFamily(
            "freediv_unsound_requests_of_one_owner",
            "Of requests that were no text of word pieces, or no shares of one, the most that one data owner sent.",
        )
        with self._lock:
            unsound.add_metric((), max(self._unsound.values(), default=0))
            for key, totals in self._stages.items():
                sent.add_metric(key, totals.sent_bytes)
                received.add_metric(key, totals.received_bytes)
                messages.add_metric(key, totals.messages)
                seconds.add_metric(key, totals.seconds.buckets(), totals.seconds.total)
            for outcome, count in self._outcomes.items():
                requests.add_metric((outcome,), count)
            for limit, count in self._turned_away.items():
                turned_away.add_metric((limit,), count)
            durations = HistogramMetricFamily(
                "freediv_request_seconds",
                "Seconds from a request's acceptance to its end.",
                buckets=self._requests.buckets(),
                sum_value=self._requests.total,
            )
        return [sent, received, messages, seconds, requests, turned_away, unsound, durations]


@dataclass(frozen=True)
class BuildInfo:
    """What runs: SPU's version, its protocol and ring, and the loaded model's functions (`none` before one is)."""

    spu: str
    protocol: str
    field: str
    attention: str = "none"
    activation: str = "none"

    @classmethod
    def of(cls, architecture: Architecture | None, *, spu: str, protocol: str, field: str) -> BuildInfo:
        """Name the functions of `architecture`; several of a kind are joined by `+`."""
        if architecture is None:
            return cls(spu, protocol, field)
        attention = _joined(functions.attention for functions in architecture.functions)
        activation = _joined(functions.activation for functions in architecture.functions)
        return cls(spu, protocol, field, attention, activation)


def _joined(names: Iterable[str]) -> str:
    return "+".join(sorted(set(names))) or "none"


@dataclass(frozen=True)
class PartyStatus:
    """What a party is at this moment.

    Attributes:
        waiting_requests, most_waiting: requests that it holds, and the most that it may.
        budgets_left: of each data owner's budget for the model in use, the part that is left (0 to 1).
    """

    link_up: bool
    worker_restarts: int
    build: BuildInfo
    waiting_requests: int = 0
    most_waiting: int = 0
    budgets_left: tuple[float, ...] = ()


class PartyCollector(Collector):
    """Reads a party's ledger and status whenever it is scraped; keeps nothing."""

    def __init__(self, ledger: Ledger, status: Callable[[], PartyStatus]) -> None:
        self._ledger = ledger
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        yield from self._ledger.metrics()
        status = self._status()
        yield GaugeMetricFamily("freediv_link_up", "1 while this party is linked to its peers.", float(status.link_up))
        yield CounterMetricFamily(
            "freediv_worker_restarts", "Times that the SPU worker was replaced.", status.worker_restarts
        )
        yield GaugeMetricFamily("freediv_waiting_requests", "Requests that this party holds.", status.waiting_requests)
        yield GaugeMetricFamily(
            "freediv_waiting_requests_limit", "The most that this party holds at a time.", status.most_waiting
        )
        # Of whom it is, is for those who may ask: `freediv status`.
        yield GaugeMetricFamily(
            "freediv_least_budget_left_ratio",
            "Of the budget that is spent most, the part that is left to its owner (1: none is spent).",
            min(status.budgets_left, default=1.0),
        )
        yield InfoMetricFamily("freediv_build", "What this party runs.", asdict(status.build))


@contextmanager
def serve_metrics(ledger: Ledger, status: Callable[[], PartyStatus], *, host: str, port: int) -> Iterator[int]:
    """Serve `/metrics` on `host` and `port` (0: any free one) from a thread of its own; yields the port.

    Raises:
        UserError: the address cannot be bound.
    """
    registry = CollectorRegistry()
    registry.register(PartyCollector(ledger, status))
    try:
        server = MetricsServer(host, port, make_wsgi_app(registry))
    except OSError as error:
        raise UserError(
            f"metrics address {host}:{port}: {error.strerror or error}; choose another metrics port in the topology"
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
