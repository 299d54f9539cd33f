"""Who is told what: the table of docs/threat-model.md, held to the protocol and to what a party's status leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from freediv.cluster.identity import Role
from freediv.party.calls.for_peers import _told
from freediv.wire import protocol_pb2 as pb
from google.protobuf.descriptor import Descriptor

REPOSITORY = Path(__file__).resolve().parents[2]
HEARS = {"DataOwner": "data owner", "ModelOwner": "model owner"}
ENVELOPES = {"ModelMessage", "InferEvent", "LoadMessage", "InferMessage"}
"""They hold one of several messages, or bytes of what was described."""
Fields = dict[tuple[str, str], set[str]]


def written() -> Fields:
    """(who, message) -> fields, of the table."""
    page = (REPOSITORY / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w ]+) \| `(\w+)` \| (.*?) \|", page, re.MULTILINE)
    return {(who, message): set(re.findall(r"`(\w+)`", fields)) for who, message, fields in rows}


def messages(top: Descriptor) -> Iterator[Descriptor]:
    """A message, and all that it holds."""
    yield top
    for field in top.fields:
        if field.message_type is not None:
            yield from messages(field.message_type)


def sent() -> Fields:
    """The same, of all calls that owners make."""
    found: Fields = {}
    for service, owner in HEARS.items():
        for method in pb.DESCRIPTOR.services_by_name[service].methods:
            for who, top in ((owner, method.output_type), ("one party", method.input_type)):
                for message in messages(top):
                    if message.name not in ENVELOPES:
                        found[who, message.name] = {field.name for field in message.fields}
    found["data owner", "Bundle"] = {field.name for field in pb.Bundle.DESCRIPTOR.fields}  # travels as bytes
    return found


def of_status() -> Fields:
    """The same, of a status: what it leaves to each owner, of a party that has everything to tell."""
    full = pb.PartyState(
        rank=1, agreement="a", epoch=1, link_up=True, model_id="m", loaded="m", stored=[pb.StoredModel(model_id="m")],
        loading=1.0, waiting_requests=1, worker_restarts=1, peak_memory_bytes=1, problem="p", worker_pid=1,
        computing=True, memory_bytes=1, beside="m",
    )  # fmt: skip
    assert {field.name for field, _ in full.ListFields()} == {f.name for f in full.DESCRIPTOR.fields} - {"quotas"}
    told = {who: {field.name for field, _ in _told(role(who), full).ListFields()} for who in HEARS.values()}
    quota, stored = pb.OwnerQuota.DESCRIPTOR.fields_by_name, pb.StoredModel.DESCRIPTOR.fields_by_name
    return {
        ("data owner", "PartyState"): told["data owner"] | {"quotas"},
        ("data owner", "OwnerQuota"): set(quota),
        ("model owner", "PartyState"): told["model owner"],
        ("model owner", "StoredModel"): set(stored),
    }


def role(who: str) -> Role:
    return Role("lab", who.replace(" ", "-"), name=None)  # type: ignore[arg-type]


def test_the_page_says_all_that_is_told_and_nothing_else() -> None:
    there, said = sent() | of_status(), written()
    assert said.keys() == there.keys()
    assert said == there


def test_a_field_that_the_page_leaves_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freediv.party.calls.for_peers._TO_ALL", ("rank", "computing"))
    assert of_status()["data owner", "PartyState"] != written()["data owner", "PartyState"]
