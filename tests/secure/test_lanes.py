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
from freediv.secure.runtime import _Order
from freediv.secure.worker import WorkerConfig

from .parties import Parties, architecture, random_parameters, sentences

FUNCTIONS = {"attention": "softmax", "activation": "gelu-tanh"}  # with calls of SPU within a layer


def _answers(tmp_path: Path, lanes: int, output: str) -> tuple[Any, Any]:
    model = architecture(functions=FUNCTIONS)
    token_ids, mask = sentences(model.vocabulary, batch=5)
    with Parties(products="shares", lanes=lanes) as parties:
        parties.join().load(tmp_path, model, random_parameters(model), output=output)
        results = parties.run(parties.inputs(token_ids, mask), *token_ids.shape)
        parties.run(parties.inputs(token_ids[:1], mask[:1]), 1, token_ids.shape[1])  # fewer sentences than lanes
        return parties.answer(results), results


@pytest.mark.parametrize("output", ["logits", "label"])
def test_answers_in_lanes_are_those_without_and_costs_add_up(tmp_path: Path, output: str) -> None:
    one, _ = _answers(tmp_path / "one", 1, output)
    three, results = _answers(tmp_path / "three", 3, output)  # of 2, 2 and 1 sentences
    assert one.shape == three.shape
    assert np.abs(one - three).max() < (5e-3 if output == "logits" else 1)
    for result in results:
        assert len(result.records) == 6
        agreement = 4  # terms and digests, then whether all were sound, to two parties each
        assert sum(record.sent_messages for record in result.records) + agreement == result.link_sent_messages
    assert sum(r.link_sent_bytes for r in results) == sum(r.link_received_bytes for r in results)


def test_parties_with_other_numbers_of_lanes_do_not_connect() -> None:
    with Parties(products="shares") as parties:
        parties.workers[2]._config = WorkerConfig(2, parties.workers[2]._config.peers, products="shares", lanes=2)
        outcomes = parties.outcomes(lambda rank, worker: (worker.start(), worker.connect()))
    assert "party-2 has lanes 2, this party 1" in str(outcomes[0])


def test_lanes_are_refused_where_spu_multiplies() -> None:
    with pytest.raises(UserError, match=r"lanes 2: .* only with products: shares"):
        WorkerConfig(0, (("a", "a:1"),) * 3, lanes=2)


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
