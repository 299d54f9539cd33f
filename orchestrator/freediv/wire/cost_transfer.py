"""Costs on the wire: records of stages as they end, and a run's totals with its result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from ..mpc.records import Cost, StageRecord, Traffic
from . import protocol_pb2 as pb


def stage_message(record: StageRecord) -> pb.Stage:
    """A stage's record, as it is sent."""
    return pb.Stage(**record.to_dict())


def read_stage(message: pb.Stage) -> StageRecord:
    """The inverse of `stage_message`.

    Raises:
        ValueError: it is no stage's record; says why.
    """
    values = {f.name: getattr(message, f.name) for f in fields(StageRecord)}
    return StageRecord.from_dict(values | {"layer": message.layer if message.HasField("layer") else None})


def result_message(output: pb.ShareDescription, cost: Cost, requests: int, sentences: int) -> pb.Result:
    """A result, with the totals of its run, which so many requests and sentences shared. Stages went before."""
    return pb.Result(
        output=output,
        peak_memory_bytes=cost.peak_memory_bytes,
        preparation_seconds=cost.preparation_seconds,
        run_requests=requests,
        run_sentences=sentences,
        **cost.link_counts,
    )


def read_cost(stages: Iterable[StageRecord], result: pb.Result) -> Cost:
    """What the run of a result cost, by the records that came before it and its totals."""
    link = Traffic(*(getattr(result, f"link_{f.name}") for f in fields(Traffic)))
    return Cost(tuple(stages), link, result.peak_memory_bytes, result.preparation_seconds)
