"""The door's `/metrics`: requests by route and outcome, how long they took, and what is behind the door.

Nothing that comes from a caller becomes a label: a route is the application's, and a status one of HTTP's.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .served import Models

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_OWN_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


class DoorMetrics:
    """What the door did since it started."""

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "freediv_door_requests", "Requests, by route and status.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "freediv_door_request_seconds",
            "Seconds from a request's headers to its answer, by route.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._texts = Counter("freediv_door_texts", "Texts that were answered.", registry=self._registry)
        self._own = Histogram(
            "freediv_door_own_seconds",
            "Seconds of an answered request that the door spent itself, not its deployments, nor waiting for a place.",
            buckets=_OWN_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Behind(models))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, texts: int, own_seconds: float) -> None:
        """Count what a request's texts came to."""
        self._texts.inc(texts)
        self._own.observe(own_seconds)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self._registry)


class _Behind(Collector):
    """What is behind the door when it is scraped."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("freediv_door_replicas_up", "Deployments that can be asked, by model.", labels=["model"])
        there = GaugeMetricFamily("freediv_door_replicas", "Deployments behind the door, by model.", labels=["model"])
        texts = GaugeMetricFamily("freediv_door_waiting_texts", "Texts under way or waiting.", labels=["model"])
        for served in self._models.all():
            up.add_metric([served.name], len(served.able()))
            there.add_metric([served.name], len(served.replicas))
            texts.add_metric([served.name], sum(one.texts for one in served.replicas))
        yield from (up, there, texts)
