"""A request in lanes: the same answers, and nothing that one lane does reaches another."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.mpc.spu.runtime import _Order
from freediv.mpc.worker.worker import WorkerConfig

from .parties import SECRET, Parties, architecture, random_parameters, sentences

FUNCTIONS = {"attention": "softmax", "activation": "gelu-tanh"}  # with calls of SPU within a layer


@pytest.fixture(scope="module")
def by_lanes() -> Iterator[dict[int, Parties]]:
    with Parties(products="shares") as one, Parties(products="shares", lanes=3) as three:
        yield {1: one.join(), 3: three.join()}


def _answers(parties: Parties, directory: Path, output: str) -> tuple[Any, Any]:
    model = architecture(**FUNCTIONS)
    token_ids, mask = sentences(model.vocabulary, batch=5)
    parties.load(directory, model, random_parameters(model), output=output)
    results = parties.run(parties.inputs(token_ids, mask), *token_ids.shape)
    parties.run(parties.inputs(token_ids[:1], mask[:1]), 1, token_ids.shape[1])  # fewer sentences than lanes
    return parties.answer(results), results


@pytest.mark.parametrize("output", ["logits", "label"])
def test_answers_in_lanes_are_those_without_and_costs_add_up(
    by_lanes: dict[int, Parties], tmp_path: Path, output: str
) -> None:
    one, _ = _answers(by_lanes[1], tmp_path / "one", output)
    three, results = _answers(by_lanes[3], tmp_path / "three", output)  # of 2, 2 and 1 sentences
    assert one.shape == three.shape
    assert np.abs(one - three).max() < (5e-3 if output == "logits" else 1)
    for result in results:
        assert len(result.cost.stages) == 6
        agreement = 4  # terms and digests, then whether all were sound, to two parties each
        assert sum(record.sent_messages for record in result.cost.stages) + agreement == result.cost.link.sent_messages
    assert sum(r.cost.link.sent_bytes for r in results) == sum(r.cost.link.received_bytes for r in results)


def test_parties_with_other_numbers_of_lanes_do_not_connect() -> None:
    with Parties(products="shares") as parties:
        parties.workers[2]._config = WorkerConfig(
            2, parties.workers[2]._config.peers, SECRET, products="shares", lanes=2
        )
        outcomes = parties.outcomes(lambda rank, worker: (worker.start(), worker.connect()))
    assert "party-2 has lanes 2, this party 1" in str(outcomes[0])


def test_lanes_are_refused_where_spu_multiplies() -> None:
    with pytest.raises(UserError, match=r"lanes 2: .* only with products: shares"):
        WorkerConfig(0, (("a", "a:1"),) * 3, SECRET, lanes=2)


def test_a_worker_with_other_peers_than_its_protocol_takes_is_refused() -> None:
    with pytest.raises(UserError, match="needs 3 parties, there are 2"):
        WorkerConfig(0, (("a", "a:1"),) * 2, SECRET)


@pytest.fixture(params=range(5))
def delays(request: pytest.FixtureRequest) -> Iterator[random.Random]:
    yield random.Random(request.param)


def test_turns_are_the_same_however_fast_lanes_are(delays: random.Random) -> None:
    """Lanes of 3, 1 and 2 programs."""
    order, seen = _Order(), list[int]()
    order.begin([0, 1, 2])
    waits = [[delays.random() / 100 for _ in range(count)] for count in (3, 1, 2)]

    def lane(index: int) -> None:
        for wait in waits[index]:
            time.sleep(wait)
            with order.turn(index):
                seen.append(index)
        order.leave(index)

    threads = [threading.Thread(target=lane, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [0, 1, 2, 0, 2, 0]
