"""OpenTelemetry spans, where an endpoint for them is configured (`OTEL_EXPORTER_OTLP_ENDPOINT`); else nothing is done.

A request's spans have one trace id, from the data owner's door through all parties. None holds a text, or says who an
owner is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PARENT = "traceparent"
"""Metadata of a call, and header of a request: of which span it is a part (W3C Trace Context)."""
_tracer: Any = None


def configure(service: str) -> None:
    """Send this process's spans to the endpoint, if there is one.

    Args:
        service: what they are of, such as `freediv-door`.
    """
    global _tracer  # noqa: PLW0603 (of the process, as OpenTelemetry's own is)
    if _tracer is not None or not any(os.environ.get(name) for name in _ENDPOINTS):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("freediv")


@contextmanager
def span(name: str, parent: str | None = None, **attributes: str | int | float) -> Iterator[Any]:
    """A span around what is done within; yields it, or None where there are none.

    Args:
        name: of the step.
        parent: what `traceparent` said elsewhere; None: the span around this one, if there is one.
        attributes: numbers, and names that are not a user's.
    """
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = None if parent is None else TraceContextTextMapPropagator().extract({PARENT: parent})
    with _tracer.start_as_current_span(name, context=context, attributes=attributes, record_exception=False) as one:
        yield one


def traceparent() -> tuple[tuple[str, str], ...]:
    """Metadata that has a call be part of the current span; nothing where there is none."""
    if _tracer is None:
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple(carrier.items())[:1]


def parent_in(metadata: Iterable[tuple[str, Any]]) -> str | None:
    """Of which span a call is to be a part, by its metadata; only so much of it is believed."""
    found = dict(metadata or ()).get(PARENT)
    return found if isinstance(found, str) and len(found) <= 64 else None
