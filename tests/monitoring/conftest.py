"""Records of runs that never were, with figures that all differ."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial

import pytest
import tiny
from freediv.monitoring.costs import PartyCost, RequestCost, RunCost
from freediv.mpc.records import StageRecord

architecture = partial(tiny.architecture, vocabulary=8000, hidden=384, heads=12, intermediate=1536, positions=128)


def stage(name: str, layer: int | None, block: str, size: int, seconds: float) -> StageRecord:
    return StageRecord(
        stage=name,
        layer=layer,
        block=block,
        seconds=seconds,
        sent_bytes=size,
        received_bytes=size + 1000,
        sent_messages=size // 100_000 + 3,
        received_messages=size // 100_000 + 4,
    )


def party(rank: int, layers: int = 3, batch: int = 1) -> PartyCost:
    stages = [stage("embedding", None, "embedding", (310_000 + 700 * rank) * batch, 0.11)]
    for layer in range(layers):
        attention = (1_900_000 + 20_000 * layer + 3000 * rank) * batch
        feed_forward = (2_600_000 + 10_000 * layer + 5000 * rank) * batch
        stages += [
            stage(f"encoder.{layer}.attention", layer, "attention", attention, 0.09 + 0.004 * layer + 0.01 * rank),
            stage(f"encoder.{layer}.feed_forward", layer, "feed_forward", feed_forward, 0.13 + 0.003 * layer),
        ]
    stages.append(stage("classifier", None, "classifier", 41_000 * batch, 0.03))
    return PartyCost(
        rank=rank,
        stages=tuple(stages),
        link_sent_bytes=sum(s.sent_bytes for s in stages) + 1200,
        link_received_bytes=sum(s.received_bytes for s in stages) + 1200,
        link_sent_messages=sum(s.sent_messages for s in stages) + 2,
        link_received_messages=sum(s.received_messages for s in stages) + 2,
        peak_memory_bytes=(640 + rank) * 1_000_000,
    )


def make_run_cost(*, layers: int = 3, requests: int = 1, batch: int = 8, parties: int = 3) -> RunCost:
    return RunCost(
        created=datetime(2024, 5, 17, 9, 30, tzinfo=timezone.utc),
        command="demo",
        model="demo",
        architecture=architecture(layers),
        protocol="ABY3",
        field="FM64",
        fraction_bits=18,
        spu="0.9.5",
        output="label",
        requests=tuple(
            RequestCost(
                batch=batch + number,
                length=32,
                seconds=1.94 + number,
                preparation_seconds=0.7 * number,
                upload_bytes=6_300_000,
                parties=tuple(party(rank, layers, batch + number) for rank in range(parties)),
            )
            for number in range(requests)
        ),
    )


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunCost]:
    return make_run_cost
