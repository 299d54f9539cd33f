"""Certificates that are renewed, and callers who are turned away, while a party runs."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
from freediv.cluster.configuration import PartyConfig, read_party_config
from freediv.cluster.credentials import Credentials, Revoked, fingerprint
from freediv.cluster.identity import Role
from freediv.deploy.demonstration import free_topology
from freediv.deploy.render import render
from freediv.errors import UserError

ALICE, BOB = (Role("test", "data-owner", name=name) for name in ("alice", "bob"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    topology = free_topology("test").model_copy(update={"data_owners": ()})
    return render(topology, tmp_path / "rendered").directory


@pytest.fixture
def party(directory: Path) -> PartyConfig:
    return read_party_config(directory / "party-0")


def renew(directory: Path) -> bytes:
    (directory / "party-0" / "certificate.pem").unlink()
    render(free_topology("test"), directory)
    return (directory / "party-0" / "certificate.pem").read_bytes()


def test_a_renewed_certificate_is_shown_from_then_on(directory: Path, party: PartyConfig) -> None:
    credentials = Credentials(party)
    first = credentials.current()
    assert credentials.current() is first
    renewed = renew(directory)
    assert credentials.current().certificate == renewed != first.certificate
    assert credentials.current().key == first.key


@pytest.mark.parametrize("broken", ["missing", "half", "another's"])
def test_a_renewal_that_went_wrong_leaves_the_certificate_from_before(
    directory: Path, party: PartyConfig, broken: str
) -> None:
    credentials = Credentials(party)
    first = credentials.current()
    path = party.certificate
    if broken == "missing":
        path.unlink()
    else:
        other = (directory / "party-1" / "certificate.pem").read_bytes()
        path.write_bytes(other if broken == "another's" else path.read_bytes()[:300])
    assert credentials.current() is first
    path.unlink(missing_ok=True)
    render(free_topology("test"), directory)
    assert credentials.current().certificate == path.read_bytes()


def test_roles_and_certificates_are_revoked_from_the_next_look_on(directory: Path, party: PartyConfig) -> None:
    certificate = (directory / "data-owner" / "certificate.pem").read_bytes()
    path = party.folder / "revoked"
    revoked = Revoked(party)
    assert (ALICE, certificate) not in revoked
    path.write_text("# lost their laptop\ndata-owner/alice  # on Monday\n")
    assert (ALICE, certificate) in revoked
    assert (BOB, certificate) not in revoked
    der = ssl.PEM_cert_to_DER_cert(certificate.decode())
    digest = hashlib.sha256(der).hexdigest()
    assert fingerprint(certificate) == digest
    path.write_text(":".join(digest[i : i + 2] for i in range(0, 64, 2)).upper() + "\n")  # as openssl prints it
    assert (BOB, certificate) in revoked
    path.unlink()
    assert (ALICE, certificate) not in revoked


def test_a_line_that_says_nothing_is_refused_at_the_start_and_later_takes_no_other_with_it(party: PartyConfig) -> None:
    path = party.folder / "revoked"
    revoked = Revoked(party)
    path.write_text("alice\ndata-owner/bob\n")
    assert (BOB, b"") in revoked
    with pytest.raises(UserError, match="'alice' is neither a role nor the fingerprint"):
        Revoked(party)
