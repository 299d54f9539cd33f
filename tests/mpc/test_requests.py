"""What all parties see of a model's requests: order, costs, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from freediv.model import BUCKETS
from freediv.mpc.records import StageRecord
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.sharing.shares import Share, reconstruct, split_rows, zero_rows
from freediv.mpc.worker.worker import NotBegun

from .parties import Parties, architecture, random_parameters, sentences


@pytest.fixture(scope="module")
def parties() -> Iterator[Parties]:
    with Parties() as three:
        yield three.join()


@pytest.fixture(scope="module")
def model(parties: Parties, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = architecture(vocabulary=4000)
    parties.load(tmp_path_factory.mktemp("model"), model, random_parameters(model))
    return model


def test_records_add_up_and_match_between_the_parties(parties: Parties, model: Any) -> None:
    token_ids, mask = sentences(model.vocabulary)
    results = parties.run(parties.inputs(token_ids, mask), *token_ids.shape)
    for result in results:
        for what in ("sent_bytes", "received_bytes", "sent_messages", "received_messages"):
            stages = sum(getattr(record, what) for record in result.cost.stages)
            link = getattr(result.cost.link, what)
            assert stages <= link <= 1.01 * stages
        # The kernel's count, which SPU has no part in: the content, and at most 600 bytes of framing a message.
        assert result.cost.link.sent_bytes < result.cost.wire_sent_bytes
        assert result.cost.wire_sent_bytes < result.cost.link.sent_bytes + 600 * result.cost.link.sent_messages
        assert result.cost.link.received_bytes < result.cost.wire_received_bytes
    assert sum(r.cost.link.sent_bytes for r in results) == sum(r.cost.link.received_bytes for r in results)
    assert sum(r.cost.link.sent_messages for r in results) == sum(r.cost.link.received_messages for r in results)
    for stage in zip(*(r.cost.stages for r in results), strict=True):
        assert len({(r.stage, r.layer, r.block) for r in stage}) == 1
        assert sum(r.sent_bytes for r in stage) == sum(r.received_bytes for r in stage)


def test_stages_are_reported_as_they_end(parties: Parties, model: Any) -> None:
    token_ids, mask = sentences(model.vocabulary)
    seen: list[list[StageRecord]] = [[], [], []]
    results = parties.run(
        parties.inputs(token_ids, mask), *token_ids.shape, on_stage=lambda rank, record: seen[rank].append(record)
    )
    names = [record.stage for record in seen[0]]
    assert names == [
        "embedding", "encoder.0.attention", "encoder.0.feed_forward", "encoder.1.attention",
        "encoder.1.feed_forward", "classifier",
    ]  # fmt: skip
    assert [tuple(own) for own in seen] == [result.cost.stages for result in results]
    assert all(record.seconds > 0 and record.sent_bytes > 0 for record in seen[0])


def test_digests_are_alike_at_all_parties_and_by_shape(parties: Parties, model: Any) -> None:
    short = set(parties.each(lambda rank, worker: worker.prepare(1, BUCKETS[0])))
    long = set(parties.each(lambda rank, worker: worker.prepare(1, BUCKETS[1])))
    assert len(short) == len(long) == 1
    assert short != long


def test_inputs_that_do_not_fit_are_refused_by_all_and_all_go_on(parties: Parties, model: Any) -> None:
    """What one party finds wrong before the run has begun ends that run everywhere, and nothing else."""
    token_ids, mask = sentences(model.vocabulary)
    inputs = parties.inputs(token_ids, mask)
    half = [{"one_hot": own["one_hot"]} for own in inputs]
    for odd, length, why in ((inputs, 32, "shape"), (half, 16, "the model takes mask_over_length, one_hot")):
        outcomes = parties.outcomes(
            lambda rank, worker, odd=odd, length=length: worker.run(  # type: ignore[misc]
                "r", 2, length if rank == 0 else 16, (odd if rank == 0 else inputs)[rank]
            )
        )
        assert [type(outcome) for outcome in outcomes] == [NotBegun] * 3, outcomes
        assert why in str(outcomes[0])
        assert "party-0 could not begin the run" in str(outcomes[1])
    assert all(w.alive for w in parties.workers)
    assert parties.answer(parties.run(inputs, *token_ids.shape)).shape == (2, 2)


def test_requests_that_share_a_run_get_the_answers_that_they_get_alone(parties: Parties, model: Any) -> None:
    token_ids, mask = sentences(model.vocabulary, batch=4)
    rows = (1, 2, 1)
    alone = parties.predict(token_ids, mask)
    starts = [sum(rows[:i]) for i in range(len(rows))]
    apart = [parties.inputs(token_ids[s : s + n], mask[s : s + n]) for s, n in zip(starts, rows, strict=True)]
    together: list[Any] = [
        {name: tuple(own[rank][name] for own in apart) for name in apart[0][rank]} for rank in range(3)
    ]
    results = parties.run(together, 4, token_ids.shape[1])
    outputs = [split_rows(result.output, rows) for result in results]
    for i, (start, count) in enumerate(zip(starts, rows, strict=True)):
        found = reconstruct([own[i] for own in outputs])
        assert found.shape == (count, 2)
        assert np.abs(found - alone[start : start + count]).max() < 2e-3
    with pytest.raises(NotBegun, match="other rows than the 5"):
        parties.run(together, 5, token_ids.shape[1])
    with pytest.raises(ValueError, match="does not fall into 2, 1"):
        split_rows(results[0].output, (2, 1))


def test_zeros_in_the_place_of_one_request_leave_the_others_answers_alone(parties: Parties, model: Any) -> None:
    token_ids, mask = sentences(model.vocabulary)
    alone = parties.predict(token_ids, mask)
    inputs = parties.inputs(token_ids, mask)
    settings = parties.workers[0]._config.settings
    lost = {name: zero_rows(own.shape, settings) for name, own in inputs[0].items()}
    # Party 0 alone lacks the first request: what the others hold of it is no sharing of anything.
    together: list[Any] = [
        {name: ((lost if rank == 0 else own)[name], own[name]) for name in own} for rank, own in enumerate(inputs)
    ]
    results = parties.run(together, 4, token_ids.shape[1])
    found = reconstruct([split_rows(result.output, (2, 2))[1] for result in results])
    assert np.abs(found - alone).max() < 2e-3


@pytest.mark.parametrize("rank", range(3))
def test_a_request_whose_shares_do_not_belong_together_is_not_run(parties: Parties, model: Any, rank: int) -> None:
    """One party was given another number than the rest: of a word that only one more holds, and nobody else checks."""
    token_ids, mask = sentences(model.vocabulary)
    alone = parties.predict(token_ids, mask)
    inputs, others = parties.inputs(token_ids, mask), parties.inputs(token_ids, mask)
    name = sorted(inputs[0])[0]
    together: list[Any] = [{key: (own[key], own[key]) for key in own} for own in inputs]
    honest = parties.run(together, 4, token_ids.shape[1])
    assert [result.sound for result in honest] == [(True, True)] * 3
    together[rank][name] = (others[rank][name], inputs[rank][name])
    results = parties.run(together, 4, token_ids.shape[1])
    assert [result.sound for result in results] == [(False, True)] * 3
    found = [split_rows(result.output, (2, 2)) for result in results]
    zeros = parties.run([{key: _zeros(own[key]) for key in own} for own in inputs], 2, token_ids.shape[1])
    assert np.abs(reconstruct([own[0] for own in found]) - parties.answer(zeros)).max() < 2e-3
    assert np.abs(reconstruct([own[1] for own in found]) - alone).max() < 2e-3


def _zeros(like: Share) -> Share:
    return zero_rows(like.shape, ProtocolSettings())


def test_many_requests_take_no_more_memory_than_a_few(parties: Parties, model: Any) -> None:
    token_ids, mask = sentences(model.vocabulary, length=32)
    inputs = parties.inputs(token_ids, mask)
    share_bytes = 16 * token_ids.size * model.vocabulary  # 4 MB, as the runtime holds it

    def requests(count: int) -> list[int]:
        for _ in range(count):
            parties.run(inputs, *token_ids.shape)
        return [worker.peak_memory_bytes for worker in parties.workers]

    few, many = requests(5), requests(25)
    for before, after in zip(few, many, strict=True):
        assert after - before < 10 * share_bytes
