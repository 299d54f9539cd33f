"""Roles in certificates, and who may call what."""

from __future__ import annotations

import pytest
from freediv.cluster.identity import Role
from freediv.party.calls.admission import refusal
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
ROLES = st.builds(Role, NAMES, st.just("party"), st.integers(0, 2)) | st.builds(
    lambda cluster, name: Role(cluster, "data-owner", name=name), NAMES, st.none() | NAMES
)


@given(ROLES)
def test_a_role_reads_back_from_its_uri(role: Role) -> None:
    assert Role.parse(role.uri) == role


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://lab/party/3",
        "spiffe://lab/party/00",
        "spiffe://lab/party",
        "spiffe://lab/model-owner/x",
        "spiffe://lab/data-owner/",
        "spiffe://lab/data-owner/a/b",
        "spiffe://LAB/party/0",
        "spiffe://lab/party/0\n",
        "https://lab/party/0",
        "spiffe://lab/../lab/party/0",
    ],
)
def test_other_uris_are_no_role(uri: str) -> None:
    assert Role.parse(uri) is None


@given(st.text())
def test_no_text_makes_parsing_fail(text: str) -> None:
    Role.parse(text)


def test_a_party_of_another_cluster_is_refused() -> None:
    stranger = Role("other", "party", rank=0)
    assert "cluster other" in (refusal("/freediv.v1.Peer/Execute", stranger, cluster="lab", rank=1) or "")


def test_a_certificate_without_a_role_is_refused() -> None:
    assert refusal("/freediv.v1.Status/GetStatus", None, cluster="lab", rank=0) is not None


def test_a_service_that_nobody_was_given_is_refused() -> None:
    role = Role("lab", "party", rank=0)
    assert refusal("/grpc.reflection.v1.ServerReflection/Info", role, cluster="lab", rank=0) is not None
    assert refusal("/freediv.v1.Unknown/Call", role, cluster="lab", rank=0) is not None
