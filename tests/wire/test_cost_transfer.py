"""What a run cost a party, as its owner hears of it, and as files keep it."""

from __future__ import annotations

import pytest
from freediv.monitoring.costs import PartyCost
from freediv.mpc.records import Cost, StageRecord, Traffic
from freediv.wire import protocol_pb2 as pb
from freediv.wire.cost_transfer import read_cost, read_stage, result_message, stage_message

STAGES = (
    StageRecord("embedding", None, "embedding", 0.25, 11, 12, 13, 14),
    StageRecord("encoder.0.attention", 0, "attention", 0.5, 21, 22, 23, 24),
)
COST = Cost(STAGES, Traffic(101, 102, 103, 104), peak_memory_bytes=1 << 33, preparation_seconds=1.5)


def test_a_cost_arrives_as_it_was_sent() -> None:
    stages = [read_stage(pb.Stage.FromString(stage_message(stage).SerializeToString())) for stage in STAGES]
    message = result_message(pb.ShareDescription(name="output"), COST, requests=2, sentences=5)
    result = pb.Result.FromString(message.SerializeToString())
    assert read_cost(stages, result) == COST
    assert (result.output.name, result.run_requests, result.run_sentences) == ("output", 2, 5)
    totals = (
        result.link_sent_bytes,
        result.link_received_bytes,
        result.link_sent_messages,
        result.link_received_messages,
    )
    assert totals == (101, 102, 103, 104)


def test_no_stages_record_is_refused() -> None:
    with pytest.raises(ValueError, match="a block that there is not"):
        read_stage(pb.Stage(stage="embedding", block="nothing"))


def test_a_file_keeps_a_cost_with_its_party() -> None:
    assert PartyCost.of(2, COST).model_dump(exclude={"stages"}) == {
        "rank": 2,
        "link_sent_bytes": 101,
        "link_received_bytes": 102,
        "link_sent_messages": 103,
        "link_received_messages": 104,
        "peak_memory_bytes": 1 << 33,
    }
    assert PartyCost.of(2, COST).stages == STAGES
