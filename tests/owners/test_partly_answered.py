"""Answers that were paid for are handed out, whatever comes after them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.owners import data_owner
from freediv.owners.data_owner import DataOwner, PartlyAnswered
from freediv.owners.sentences import Batch

TEXTS = ["one", "two", "three"]


def owner(monkeypatch: pytest.MonkeyPatch, answered: int) -> DataOwner:
    """One whose requests, of a sentence each and the last sentence first, are answered so many times."""
    asked: list[Batch] = []

    class Session:
        def __init__(self, *arguments: object) -> None:
            pass

        async def ask(self, batch: Batch) -> tuple[np.ndarray, str]:
            asked.append(batch)
            if len(asked) > answered:
                raise UserError("party 1 went away")
            return np.array(batch.rows), f"request {len(asked)}"

    async def nothing(*arguments: object) -> Any:
        return SimpleNamespace(architecture="architecture")

    async def no(*arguments: object) -> bool:
        return False

    def batches(self: object, model: object, texts: list[str], **options: object) -> list[Batch]:
        return [Batch((row,), np.zeros((1, 4)), np.ones((1, 4))) for row in reversed(range(len(texts)))]

    monkeypatch.setattr(data_owner, "Session", Session)
    monkeypatch.setattr(data_owner, "_predictions", lambda output, *rest: [f"label of {TEXTS[row]}" for row in output])
    monkeypatch.setattr(DataOwner, "model", nothing)
    monkeypatch.setattr(DataOwner, "_has_switched", no)
    monkeypatch.setattr(DataOwner, "_batches", batches)
    return DataOwner(SimpleNamespace(output="label"), [])  # type: ignore[arg-type]


def test_what_was_answered_before_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PartlyAnswered) as caught:
        asyncio.run(owner(monkeypatch, 2).classify(TEXTS))
    assert str(caught.value) == "party 1 went away; 2 of 3 sentences were answered before that"
    assert caught.value.rows == (1, 2)
    assert caught.value.answers.predictions == ("label of two", "label of three")
    assert caught.value.answers.requests == ("request 1", "request 2")


def test_without_an_answer_a_failure_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^party 1 went away$"):
        asyncio.run(owner(monkeypatch, 0).classify(TEXTS))
    assert len(asyncio.run(owner(monkeypatch, 3).classify(TEXTS)).predictions) == 3
