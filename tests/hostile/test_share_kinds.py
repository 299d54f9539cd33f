"""Shares in a form that only a party's own worker makes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest
from deployment.conftest import Cluster
from freediv.errors import UserError
from freediv.model import parameter_shapes
from freediv.mpc.sharing.shares import Share
from freediv.owners.model_owner import prepare_offer
from freediv.owners.sentences import Batch
from freediv.owners.session import Session
from freediv.wire import protocol_pb2 as pb
from freediv.wire.share_transfer import describe

from .conftest import refusal, sender


def in_spus_form(shape: tuple[int, ...], meta: str = "") -> Share:
    """As long as two words of this shape, and nothing that SPU could read."""
    count = 1
    for dimension in shape:
        count *= dimension
    described = {"storage_type": "aby3.AShr<FM64>", "shape": shape, "parts": ["spu", "spu"], "spu": meta}
    return Share(json.dumps(described).encode(), (b"\xff" * 8 * count,) * 2)


@pytest.mark.parametrize("meta", ["", "00", "ff" * 40])
def test_a_request_in_spus_form_is_refused_and_ends_no_worker(cluster: Cluster, meta: str) -> None:
    """Parts of SPU's kind with any bytes, sent to all parties: only seeds and words pass the check, before any run."""
    workers = [state.worker_pid for state in cluster.local.states()]

    async def attack() -> list[tuple[grpc.StatusCode, str]]:
        async with AsyncExitStack() as stack:
            bob = await sender(stack, cluster)
            for name, own in bob.shares.items():
                bob.shares[name] = [in_spus_form(own[0].shape, meta)] * 3
            request_id = secrets.token_bytes(16)
            calls = [await bob.send(rank, bob.header(rank, request_id=request_id)) for rank in range(3)]
            return [await refusal(call) for call in calls]

    told = asyncio.run(attack())
    refusals = [why for code, why in told if code == grpc.StatusCode.INVALID_ARGUMENT]
    assert refusals and all(why.endswith("the share is not one of ABY3, FM64") for why in refusals)
    # Who refuses withdraws it everywhere: a party that had not come to look at it says that.
    others = {why for code, why in told if code != grpc.StatusCode.INVALID_ARGUMENT}
    assert others <= {"its owner withdrew the request"}
    assert [state.worker_pid for state in cluster.local.states()] == workers


@pytest.mark.parametrize("odd", range(3))
def test_an_owner_is_told_why_one_party_refused_and_not_that_others_were_left(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, odd: int
) -> None:
    """A request of which one party's shares are of SPU's kind: that party's words, whoever's come first."""
    batch = Batch((0,), np.ones((1, 16), np.int64), np.ones((1, 16), np.int64))

    async def ask() -> None:
        async with AsyncExitStack() as stack:
            bob = await sender(stack, cluster)
            shares = [{name: own[rank] for name, own in bob.shares.items()} for rank in range(3)]
            shares[odd] = {name: in_spus_form(own.shape) for name, own in shares[odd].items()}
            monkeypatch.setattr(Session, "_share", lambda *_: shares)
            for _ in range(10):
                with pytest.raises(UserError, match=f"party {odd} .*the share is not one of ABY3, FM64"):
                    await Session(bob.config, bob.data, bob.served, lambda progress: None, 1).ask(batch)

    asyncio.run(ask())


def test_a_models_share_in_spus_form_is_refused(cluster: Cluster, tiny_model: Path) -> None:
    """The same in an upload, where it would lie on a party's disk until it is loaded."""
    offer = prepare_offer(tiny_model)
    stage, own = next(iter(parameter_shapes(offer.architecture, folded=True).items()))
    name, shape = next(iter(own.items()))
    part = in_spus_form(shape)

    async def attack() -> tuple[grpc.StatusCode, str]:
        async with AsyncExitStack() as stack:
            bob = await sender(stack, cluster)
            header = pb.LoadHeader(
                model_id=secrets.token_hex(16),
                agreement=bob.config.digest(),
                bundle_bytes=len(offer.bundle),
                bundle_sha256=hashlib.sha256(offer.bundle).hexdigest(),
            )
            data = [pb.LoadMessage(data=chunk) for chunk in part.chunks]
            return await refusal(
                bob.model[1].Load(timeout=30),
                pb.LoadMessage(header=header),
                pb.LoadMessage(data=offer.bundle),
                pb.LoadMessage(share=describe(name, part, stage=stage)),
                *data,
            )

    code, why = asyncio.run(attack())
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert why == f"{stage}/{name}: the share is not one of ABY3, FM64"
