"""What a party takes in: only what the public architecture allows, and only so much of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from freediv.cluster.configuration import Agreement, Limits
from freediv.cluster.identity import Role
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.sharing.shares import Share
from freediv.party.requests import Inbox, Refused, check_inputs
from freediv.wire import protocol_pb2 as pb
from tiny import architecture

ARCHITECTURE = architecture(layers=1, vocabulary=20, hidden=8, positions=40)
ALICE, BOB = Role("lab", "data-owner", name="alice"), Role("lab", "data-owner", name="bob")
MODEL = "0" * 32


def header(**changes: Any) -> pb.InferHeader:
    batch, length = changes.get("batch", 2), changes.get("length", 16)
    inputs = [
        pb.ShareDescription(name="one_hot", meta=b"{}", chunk_bytes=[batch * length * 20 * 8, 16]),
        pb.ShareDescription(name="mask_over_length", meta=b"{}", chunk_bytes=[batch * length * 8, 16]),
    ]
    values: dict[str, Any] = {
        "request_id": bytes(16), "model_id": MODEL, "batch": batch, "length": length, "inputs": inputs,
    }  # fmt: skip
    return pb.InferHeader(**(values | changes))


def inbox(**limits: Any) -> Inbox:
    return Inbox(Agreement(cluster="lab", max_batch=4, lookup="rows"), Limits(**limits), 0)


def refused(box: Inbox, message: pb.InferHeader, owner: Role = ALICE) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(Refused) as caught:
        box.admit(owner, message, MODEL, ARCHITECTURE)
    return caught.value.code, str(caught.value)


def test_a_sound_request_is_taken() -> None:
    request = inbox().admit(ALICE, header(), MODEL, ARCHITECTURE)
    assert dict(request.shapes) == {"one_hot": (2, 16, 20), "mask_over_length": (2, 16)}


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (header(batch=5), "1 to 4 sentences"),
        (header(batch=0), "1 to 4 sentences"),
        (header(length=17), "padded to 16, 32"),
        (header(length=64), "padded to 16, 32"),  # a bucket, but the model has 40 positions
        (header(request_id=b"short"), "16 bytes"),
        (header(inputs=[]), "other inputs"),
        (header(inputs=[*header().inputs, pb.ShareDescription(name="weights")]), "other inputs"),
        (header(inputs=[*header().inputs, header().inputs[0]]), "other inputs"),
        (header(inputs=[header().inputs[0], pb.ShareDescription(name="../../key.pem")]), "other inputs"),
        (
            header(inputs=[header().inputs[1], pb.ShareDescription(name="one_hot", chunk_bytes=[1 << 40])]),
            "its shape allows",
        ),
    ],
)
def test_what_the_architecture_does_not_allow_is_refused_before_memory_is_taken(
    message: pb.InferHeader, part: str
) -> None:
    code, reason = refused(inbox(), message)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert part in reason


def test_another_model_is_refused() -> None:
    code, reason = refused(inbox(), header(model_id="1" * 32))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "another model" in reason


def take(box: Inbox, owner: Role, number: int) -> None:
    box.admit(owner, header(request_id=number.to_bytes(16, "big")), MODEL, ARCHITECTURE)


def how_many(box: Inbox, owner: Role, first: int) -> int:
    """Requests that an owner gets in until it is refused."""
    for number in range(first, first + 1000):
        try:
            take(box, owner, number)
        except Refused as error:
            assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
            return number - first
    raise AssertionError("nothing was refused")


def test_a_full_inbox_says_when_to_come_back_and_refuses_until_something_is_let_go() -> None:
    box = inbox(waiting_requests=2)
    first = box.admit(ALICE, header(), MODEL, ARCHITECTURE)
    box.admit(BOB, header(), MODEL, ARCHITECTURE)
    with pytest.raises(
        Refused, match=r"holds 2 of at most 2 requests, 1 of yours among them; come back in 1 s"
    ) as caught:
        take(box, ALICE, 1)
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (caught.value.retry_after_s, caught.value.limit) == (1, "places")
    box.release(first)
    take(box, ALICE, 1)


@pytest.mark.parametrize("limit", [{"waiting_requests": 16}, {"waiting_bytes": 1 << 20}])
def test_an_owner_that_floods_leaves_places_for_others(limit: dict[str, int]) -> None:
    box = inbox(**limit)
    alices = how_many(box, ALICE, 0)
    bobs = how_many(box, BOB, 0)
    assert alices >= 8
    assert bobs >= alices // 2 - 1
    take(box, Role("lab", "data-owner", name="carol"), 0)  # and still there is one


def test_the_time_to_come_back_grows_with_the_queue_and_the_time_that_a_run_takes() -> None:
    def wait(requests: int, run_s: float) -> int | None:
        box = inbox(waiting_requests=requests)
        for _ in range(30):
            box.ran(run_s)
        how_many(box, ALICE, 0)
        with pytest.raises(Refused) as caught:
            take(box, ALICE, 999)
        return caught.value.retry_after_s

    assert wait(8, 4.0) == 8  # four requests wait, of which two are to have their turn first
    assert wait(16, 4.0) == 16
    assert wait(8, 0.01) == 1
    assert wait(256, 100.0) == 60


def test_a_request_that_never_fits_is_not_sent_away_to_come_back() -> None:
    box = inbox(waiting_bytes=1 << 20)
    big = header(batch=4, length=32, inputs=[
        pb.ShareDescription(name="one_hot", meta=b"{}", chunk_bytes=[(1 << 20) - 9_000, 16]),
        pb.ShareDescription(name="mask_over_length", meta=b"{}", chunk_bytes=[9_000, 16]),
    ])  # fmt: skip
    architecture = ARCHITECTURE.model_copy(update={"vocabulary": 2000})
    with pytest.raises(Refused, match="ever; send fewer sentences") as caught:
        box.admit(ALICE, big, MODEL, architecture)
    assert caught.value.retry_after_s is None


def test_owners_cannot_touch_each_others_requests() -> None:
    box = inbox()
    alices = box.admit(ALICE, header(), MODEL, ARCHITECTURE)
    bobs = box.admit(BOB, header(), MODEL, ARCHITECTURE)
    assert alices.key != bobs.key
    code, _ = refused(box, header())
    assert code == grpc.StatusCode.ALREADY_EXISTS


def test_the_first_cause_of_an_end_stands() -> None:
    request = inbox().admit(ALICE, header(), MODEL, ARCHITECTURE)
    request.end("dropped", "first")
    request.end("failed", "second")
    assert request.ended is not None
    assert request.ended.cause == "first"
    assert request.events.qsize() == 1


@pytest.mark.parametrize(
    ("began", "answered", "end", "free"),
    [
        (False, False, None, True),  # its owner went away, or half of it never came: nothing was computed
        (False, False, "dropped", True),
        (True, False, None, False),  # its owner went away
        (True, False, "refused", False),  # its shares did not belong together
        (True, False, "failed", True),  # a party broke
        (True, True, "failed", False),  # ... after it had handed out the result
        (True, True, None, False),
    ],
)
def test_a_request_costs_nothing_only_where_its_owner_learned_nothing_and_is_not_to_blame(
    began: bool, answered: bool, end: Any, free: bool
) -> None:
    request = inbox().admit(ALICE, header(), MODEL, ARCHITECTURE)
    request.began = began
    if answered:
        nothing: Any = None
        request.answer(nothing)
    if end is not None:
        request.end(end, "why")
    assert request.costs_nothing == free


def test_a_call_without_its_header_has_a_place() -> None:
    box = inbox(waiting_requests=4)
    with ExitStack() as stack:
        stack.enter_context(box.expecting(ALICE))
        stack.enter_context(box.expecting(ALICE))
        with pytest.raises(Refused, match="holds 2 of at most 4 requests, 2 of yours among them"):
            stack.enter_context(box.expecting(ALICE))
        assert how_many(box, ALICE, 0) == 0
        assert how_many(box, BOB, 0) == 1
    assert how_many(box, ALICE, 1) == 2  # beside Bob's, which stayed


@pytest.mark.parametrize("rank", range(3))
def test_a_request_in_keys_has_one_size(rank: int) -> None:
    """Two keys of 32 bytes for each of 16 pieces, and one of the length for two of the parties."""
    box = Inbox(Agreement(cluster="lab", max_batch=4), Limits(), rank)
    size = 2 * (2 * 16 + (rank != 1)) * 32

    def keys(count: int) -> pb.InferHeader:
        return header(inputs=[pb.ShareDescription(name="pieces", meta=b"keys of 2 texts", chunk_bytes=[count])])

    assert refused(box, keys(size + 1))[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert "other inputs" in refused(box, header())[1]
    request = box.admit(ALICE, keys(size), MODEL, ARCHITECTURE)
    assert dict(request.shapes) == {"pieces": (2, size // 2)}
    sound = Share(b"keys of 2 texts", (bytes(size),))
    check_inputs({"pieces": sound}, request.shapes, ProtocolSettings())
    for odd in (Share(b"keys of 3 texts", sound.chunks), Share(sound.meta, (bytes(size - 1),)), Share(sound.meta, ())):
        with pytest.raises(Refused, match="keys of 2 texts are due"):
            check_inputs({"pieces": odd}, request.shapes, ProtocolSettings())
