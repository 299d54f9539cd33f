"""Requests in keys to running parties: what is no text gets no answer, is told in one line, and counts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from deployment.conftest import Cluster, MakeCluster
from freediv.errors import UserError
from freediv.model import read_model, write_model
from freediv.mpc.lookup.form import PIECES, Form, keys_share
from freediv.owners.data_owner import infer
from freediv.owners.model_owner import load
from freediv.owners.sentences import make_batches
from tiny import SENTENCES, make_tiny_model

from . import test_cheating_owners as cheats
from .conftest import Sender, refusal, sender

BUDGET = 8


@pytest.fixture(scope="module")
def keyed(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    owners = ("bob", {"name": "carol", "quota": {"budget": BUDGET}}, {"name": "dave", "quota": {"budget": 5}})
    cluster = make_cluster(output="label", lookup="points", data_owners=owners, max_batch=8)
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    return cluster


def another_piece(own: Form, request: cheats.Request, random: np.random.Generator) -> None:
    cheats.put(own, request, "pieces", 1, 2, 5, own.vocabulary + 1)


def a_longer_mask(own: Form, request: cheats.Request, random: np.random.Generator) -> None:
    cheats.put(own, request, "lengths", 0, 0, own.length - 1, own.length)


def beyond(own: Form, request: cheats.Request, random: np.random.Generator) -> None:
    cheats.everywhere(own, request, 3, own.vocabulary + 7, 128)


def two_ones(own: Form, request: cheats.Request, random: np.random.Generator) -> None:
    """Padding's index beside the piece's own."""
    for pair in range(3):
        for rank in cheats.holders(pair):
            span = cheats.place(own, rank, "pieces", pair, 1)
            request[rank][span.stop - 16 + own.vocabulary // 8] ^= 1 << own.vocabulary % 8


CHEATS: list[cheats.Cheat] = [
    two_ones,
    another_piece,
    a_longer_mask,
    beyond,
    cheats.nothing,
    cheats.a_flipped_bit,
    cheats.random_bytes,
]
Ask = Callable[[cheats.Cheat | None], list[tuple[grpc.StatusCode, str]]]


def asking(cluster: Cluster, name: str, cheat: cheats.Cheat | None) -> list[tuple[grpc.StatusCode, str]]:
    """How each party ends a request with one text, which is changed first."""

    async def act() -> list[tuple[grpc.StatusCode, str]]:
        async with AsyncExitStack() as stack:
            owner = await sender(stack, cluster, name)
            keys = [bytearray(part) for part in text(owner)]
            if cheat is not None:
                cheat(Form.of(owner.served.architecture, 16), keys, np.random.default_rng(3))
            own = replace(owner, shares={PIECES: [keys_share(bytes(part), 1) for part in keys]})
            request_id = secrets.token_bytes(16)
            calls = [await own.send(rank, own.header(rank, request_id=request_id)) for rank in range(3)]
            return list(await asyncio.gather(*(refusal(call) for call in calls)))

    return asyncio.run(act())


def text(owner: Sender) -> list[bytes]:
    served = owner.served
    [batch] = make_batches(SENTENCES[:1], served.reader, served.architecture, buckets=(16,), max_batch=1)
    return Form.of(served.architecture, 16).write(batch.read, batch.mask)


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_what_is_no_text_gets_no_answer_and_others_do(
    keyed: Cluster, expected_labels: list[str], cheat: cheats.Cheat
) -> None:
    ended = asking(keyed, "bob", cheat)
    assert {code for code, _ in ended} == {grpc.StatusCode.ABORTED}
    assert {why for _, why in ended} == {
        "what the parties were given is no text of word pieces, and is not answered; it counts like one that is"
    }
    found = infer(keyed.folder("data-owner-bob"), SENTENCES[:2])
    assert [one.name for one in found.predictions] == expected_labels[:2]


def test_what_is_no_text_counts_against_the_budget(keyed: Cluster, expected_labels: list[str]) -> None:
    carol = keyed.folder("data-owner-carol")
    for _ in range(BUDGET - 4):
        assert asking(keyed, "carol", another_piece)[0][0] == grpc.StatusCode.ABORTED
    assert asking(keyed, "carol", None)[0][0] == grpc.StatusCode.OK
    found = infer(carol, SENTENCES[:3])
    assert [one.name for one in found.predictions] == expected_labels[:3]
    with pytest.raises(UserError, match="0 are left"):
        infer(carol, SENTENCES[:1])


def test_a_text_without_an_answer_counts_against_the_budget(keyed: Cluster, tmp_path: Path) -> None:
    """A model with limits that no text keeps: asking on tells where they are, so each time is one of those allowed."""
    made = make_tiny_model(tmp_path / "limited", attention_norm="layernorm-constant", row_limits=True)
    model = read_model(made)
    model.parameters["classifier"]["limits"] = np.array([1e-4, 1e6], np.float32)
    write_model(model, made)
    load(keyed.folder("model-owner"), made)
    dave = keyed.folder("data-owner-dave")
    assert not any(one.answered for one in infer(dave, SENTENCES[:3]).predictions)
    with pytest.raises(UserError, match="2 are left, and 3 were sent"):
        infer(dave, SENTENCES[:3])
