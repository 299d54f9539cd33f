"""What a data owner does to be answered more than its quota says, and what a model's owner does to it unawares."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from deployment.conftest import Cluster
from freediv.errors import UserError
from freediv.mpc.sharing.shares import Share
from freediv.owners.data_owner import infer
from freediv.owners.model_owner import load
from tiny import SENTENCES

from .conftest import BUDGET, RATE, Sender, sender


async def answer(call: Any) -> Share | None:
    """A party's share of the answer; None where it refuses."""
    try:
        while (event := await call.read()) is not grpc.aio.EOF:
            if event.WhichOneof("content") == "result":
                chunks = [(await call.read()).data for _ in event.result.output.chunk_bytes]
                return Share(event.result.output.meta, tuple(chunks))
    except grpc.aio.AioRpcError:
        pass
    return None


async def leave_at_the_first_stage(call: Any) -> None:
    while (event := await call.read()) is not grpc.aio.EOF:
        if event.WhichOneof("content") == "stage":
            break
    call.cancel()


async def cheat(owner: Sender, odd: int) -> bool:
    """Ask, and leave one party as soon as it computes; whether the other two gave an answer, which is all of it."""
    request_id = secrets.token_bytes(16)
    calls = [(await owner.send(rank, owner.header(rank, request_id=request_id))).call for rank in range(3)]
    left = [leave_at_the_first_stage(call) if rank == odd else answer(call) for rank, call in enumerate(calls)]
    found = await asyncio.gather(*left, return_exceptions=True)
    shares = [share for rank, share in enumerate(found) if rank != odd and isinstance(share, Share)]
    return len(shares) == 2


@pytest.mark.parametrize(("name", "most"), [("carol", BUDGET["budget"]), ("dave", RATE["sentences_per_minute"])])
def test_a_quota_holds_where_a_party_is_left_in_mid_run(cluster: Cluster, name: str, most: int) -> None:
    """Answers read from two parties, the third's call cancelled at its first stage: it is charged before any run."""

    async def attack() -> tuple[int, float]:
        async with AsyncExitStack() as stack:
            owner = await sender(stack, cluster, name)
            began = time.monotonic()
            answered = [await cheat(owner, attempt % 3) for attempt in range(2 * most)]
            return sum(answered), time.monotonic() - began

    answered, seconds = asyncio.run(attack())
    refilled = int(seconds * most / 60) + 1 if name == "dave" else 0
    assert most <= answered <= most + refilled
    if name == "carol":
        with pytest.raises(UserError, match="6 sentences that data-owner/carol may ask of this model 0 are left"):
            infer(cluster.folder("data-owner-carol"), SENTENCES[:1])


def test_loading_a_model_again_gives_nobody_a_new_budget_unless_its_owner_says_so(
    cluster: Cluster, tiny_model: Path, expected_labels: list[str]
) -> None:
    """A spent budget, and the same model uploaded anew: counts go by what is public of a model, not by the upload."""
    carol, owner = cluster.folder("data-owner-carol"), cluster.folder("model-owner")
    load(owner, tiny_model, fresh_budget=True)
    found = infer(carol, SENTENCES[:4])
    assert [one.name for one in found.predictions] == expected_labels[:4]
    load(owner, tiny_model)
    with pytest.raises(UserError, match="2 are left, and 3 were sent"):
        infer(carol, SENTENCES[:3])
    load(owner, tiny_model, fresh_budget=True)
    infer(carol, SENTENCES[:5])
    states = cluster.local.states()
    assert [[model.fresh_budget for model in state.stored] for state in states] == [[True, False]] * 3
    assert all("budgets begin anew" in party.log.read_text() for party in cluster.local.parties)
