"""Errors in the middle of a run: what they cost, and whom."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.mpc.sharing.shares import Share
from freediv.mpc.worker import child
from freediv.mpc.worker.commands import Connect
from freediv.mpc.worker.worker import NotBegun, Worker, WorkerConfig, WorkerFailed

from .parties import SECRET, Parties, architecture, random_parameters, sentences

ERRORS = (
    "ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "AssertionError", "ZeroDivisionError",
    "OverflowError", "MemoryError", "RecursionError", "NotImplementedError", "RuntimeError", "StopIteration", "OSError",
    "EOFError", "BrokenPipeError", "TimeoutError", "UnicodeError", "UserError", "WorkerFailed",
)  # fmt: skip
OURS = {"UserError": UserError, "WorkerFailed": WorkerFailed}


@pytest.fixture(scope="module")
def model() -> Any:
    return architecture(layers=1)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "program", "mpc.failing_child")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.fixture(scope="module")
def parties(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    with pytest.MonkeyPatch.context() as patch, Parties(products="shares", recv_timeout_s=3) as three:
        failing.__wrapped__(patch)  # type: ignore[attr-defined]
        three.join()
        three.load(tmp_path_factory.mktemp("model"), model, random_parameters(model))
        yield three


def attempt(parties: Parties, model: Any, name: str) -> list[Any]:
    token_ids, mask = sentences(model.vocabulary)
    inputs = parties.inputs(token_ids, mask)
    return parties.outcomes(lambda rank, worker: worker.run(name, *token_ids.shape, inputs[rank]))


@pytest.mark.parametrize("step", ["terms", "prepare"])
def test_an_error_before_a_run_has_begun_costs_that_run_alone(parties: Parties, model: Any, step: str) -> None:
    """Every class of error, at every party: all give up the run, and all workers go on."""
    pids = [worker.pid for worker in parties.workers]
    token_ids, mask = sentences(model.vocabulary)
    before = parties.predict(token_ids, mask)
    for number, error in enumerate(ERRORS):
        odd = number % 3
        outcomes = attempt(parties, model, f"{odd} {step} {error}")
        assert [type(outcome) for outcome in outcomes] == [NotBegun] * 3, outcomes
        for rank, outcome in enumerate(outcomes):
            words = str(outcome)
            assert "\n" not in words
            if rank != odd:
                assert words == f"party-{odd} could not begin the run; its log says why"
            elif error != "UserError":  # whose words are ours, and fit to be seen
                assert error in words and "secret" not in words
    np.testing.assert_allclose(parties.predict(token_ids, mask), before, atol=2e-3)
    assert [worker.pid for worker in parties.workers] == pids


def test_a_share_that_cannot_be_read_costs_its_run_alone(parties: Parties, model: Any) -> None:
    """Parties look at what comes before they let it this far; this is for what they overlook."""
    token_ids, mask = sentences(model.vocabulary)
    inputs = parties.inputs(token_ids, mask)
    name = sorted(inputs[0])[0]
    shape = list(inputs[1][name].shape)
    nbytes = 8 * int(np.prod(shape))
    meta = b'{"storage_type": "aby3.AShr<FM64>", "shape": %s, "parts": ["spu", "spu"]}' % str(shape).encode()
    odd: list[Any] = [dict(own) for own in inputs]
    odd[1][name] = Share(meta, (bytes(nbytes), bytes(nbytes)))
    outcomes = parties.outcomes(lambda rank, worker: worker.run("r", *token_ids.shape, odd[rank]))
    assert [type(outcome) for outcome in outcomes] == [NotBegun] * 3, outcomes
    assert "not one of ABY3, FM64" in str(outcomes[1])
    parties.run(inputs, *token_ids.shape)


def test_an_error_in_the_middle_of_a_run_ends_the_worker_with_one_line_and_a_new_link_works(
    failing: None, tmp_path: Path, model: Any
) -> None:
    with Parties(products="shares", recv_timeout_s=1) as three:
        three.join()
        three.load(tmp_path, model, random_parameters(model))
        outcomes = attempt(three, model, "2 stage EOFError")
        assert isinstance(outcomes[2], WorkerFailed)
        assert "an error that nobody foresaw (EOFError in failing_child.py:" in str(outcomes[2])
        assert not three.workers[2].alive
    with Parties(three.addresses, products="shares", epoch=1) as again:
        again.join()
        again.load(tmp_path, model, random_parameters(model))
        assert again.predict(*sentences(model.vocabulary)).shape == (2, 2)


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_goes_wrong_in_a_command_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str
) -> None:
    """The last that a worker's process says; a traceback, or silence, would be all that its party hears otherwise."""
    kind = OURS.get(error) or getattr(builtins, error)

    def fail(*_: object) -> None:
        raise kind("secret")

    monkeypatch.setattr(child.Party, "connect", fail)
    ours, theirs = Pipe()
    config = WorkerConfig(0, (("a", ""), ("b", ""), ("c", "")), secret=SECRET)
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    serving = Thread(target=child.serve, args=(config, theirs, log), daemon=True)
    serving.start()
    ours.recv()
    ours.send(Connect())
    assert ours.poll(30)
    told = ours.recv().error
    serving.join(30)
    os.close(log)
    assert isinstance(told, (WorkerFailed, UserError))
    assert "\n" not in str(told)
    assert error in (*OURS, "RuntimeError", "NotImplementedError", "RecursionError") or str(told).startswith(
        f"an error that nobody foresaw ({kind.__name__} in test_errors.py:"
    )
