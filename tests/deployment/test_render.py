"""Rendered folders: each role gets what is its own, and keeps its key."""

from __future__ import annotations

import datetime
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from freediv.cluster import certificates as pki
from freediv.cluster.configuration import read_owner_config, read_party_config
from freediv.cluster.folders import owner_folder
from freediv.cluster.identity import Role, read_identity
from freediv.cluster.topology import Topology, read_topology
from freediv.deploy.render import render
from freediv.errors import UserError

from .conftest import run_command

REPOSITORY = Path(__file__).resolve().parents[2]


def topology(**changes: object) -> Topology:
    parties = [
        {"rank": r, "host": f"10.0.0.{r}", "grpc_port": 7100, "link_port": 7101, "metrics_port": 7120} for r in range(3)
    ]
    return Topology.model_validate({"cluster": "lab", "parties": parties} | changes)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_every_folder_holds_what_its_role_needs_and_nothing_else(tmp_path: Path) -> None:
    rendered = render(topology(), tmp_path)
    names = [folder.name for folder in rendered.folders]
    assert names == ["party-0", "party-1", "party-2", "model-owner", "data-owner"]
    keys = set()
    for folder in rendered.folders:
        found = {path.name for path in folder.iterdir()} - {"gateway.cfg"}
        assert found == {"config.yaml", "ca.pem", "certificate.pem", "key.pem"}
        assert (folder / "gateway.cfg").exists() == folder.name.startswith("party-")  # they are on a network
        keys.add((folder / "key.pem").read_bytes())
    assert len(keys) == 5
    assert not list(tmp_path.glob("*/ca-key.pem")) or list(tmp_path.glob("*/ca-key.pem")) == [
        tmp_path / "authority" / "ca-key.pem"
    ]


def test_a_folder_of_another_role_is_named(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    with pytest.raises(UserError, match=r"is a data-owner's, and a party's is needed"):
        read_party_config(tmp_path / "data-owner")
    with pytest.raises(UserError, match=r"is a party's, and a model-owner or data-owner's is needed"):
        read_owner_config(tmp_path / "party-0")


def test_a_party_does_not_start_on_a_network_without_a_gateway(tmp_path: Path) -> None:
    """A config.yaml changed by hand so that SPU would listen to a network: refused when the party reads it."""
    render(topology(), tmp_path)
    path = tmp_path / "party-1" / "config.yaml"
    text = path.read_text()
    assert "gateway: true" in text
    path.write_text(text.replace("gateway: true", "gateway: false"))
    with pytest.raises(UserError, match=r"config\.yaml.*gateway: party 0 is at 10\.0\.0\.0, not on loopback"):
        read_party_config(path)
    assert run_command("party", "--config", path).returncode == 2


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    keys = [*tmp_path.glob("*/key.pem"), tmp_path / "authority" / "ca-key.pem"]
    assert len(keys) == 6
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}


def test_certificates_name_role_and_addresses(tmp_path: Path) -> None:
    render(topology(data_owners=["alice"]), tmp_path)
    found = certificate(tmp_path / "party-2" / "certificate.pem")
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://lab/party/2"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.2"]
    assert isinstance(found.public_key(), ec.EllipticCurvePublicKey)
    lifetime = found.not_valid_after_utc - found.not_valid_before_utc
    assert datetime.timedelta(days=300) < lifetime < datetime.timedelta(days=400)
    owner = certificate(tmp_path / "data-owner-alice" / "certificate.pem")
    names = owner.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://lab/data-owner/alice"]
    usage = owner.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert x509.ExtendedKeyUsageOID.SERVER_AUTH not in usage


def test_configurations_read_back_as_what_was_agreed(tmp_path: Path) -> None:
    wanted = topology(output="logits", fraction_bits=16, buckets=[32], limits={"arrival_s": 7})
    render(wanted, tmp_path)
    party = read_party_config(tmp_path / "party-1")
    owner = read_owner_config(tmp_path / "data-owner")
    assert party.agreement() == owner.agreement() == wanted.agreement()
    assert party.digest() == owner.digest() == wanted.digest()
    assert party.limits.arrival_s == 7
    assert [peer.grpc_port for peer in owner.parties] == [7100] * 3
    assert "link_port" not in (tmp_path / "data-owner" / "config.yaml").read_text()
    assert read_identity(party).role == Role("lab", "party", rank=1)
    assert read_identity(owner).role == Role("lab", "data-owner")


def test_rendering_again_keeps_keys_and_follows_the_topology(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    (tmp_path / "party-0" / "store").mkdir()
    render(topology(output="logits"), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pem")} == before
    assert (tmp_path / "party-0" / "store").is_dir()
    assert read_party_config(tmp_path / "party-0").output == "logits"


def test_a_new_address_gets_a_new_certificate_for_the_same_key(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    key = (tmp_path / "party-0" / "key.pem").read_bytes()
    old = certificate(tmp_path / "party-0" / "certificate.pem")
    moved = [
        {"rank": r, "host": f"10.9.0.{r}", "grpc_port": 7100, "link_port": 7101, "metrics_port": 7120} for r in range(3)
    ]
    render(topology(parties=moved), tmp_path)
    new = certificate(tmp_path / "party-0" / "certificate.pem")
    assert (tmp_path / "party-0" / "key.pem").read_bytes() == key
    assert new.public_key() == old.public_key()
    assert new.serial_number != old.serial_number


def test_a_certificate_that_ends_soon_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "CERTIFICATE_LIFETIME", datetime.timedelta(days=30))
    render(topology(), tmp_path)
    old = certificate(tmp_path / "model-owner" / "certificate.pem")
    monkeypatch.undo()
    render(topology(), tmp_path)
    new = certificate(tmp_path / "model-owner" / "certificate.pem")
    assert new.not_valid_after_utc > old.not_valid_after_utc + datetime.timedelta(days=300)


def test_an_expired_certificate_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pki, "CERTIFICATE_LIFETIME", datetime.timedelta(seconds=-60))
    render(topology(), tmp_path)
    with pytest.raises(UserError, match=r"certificate.pem: expired on .*; render again"):
        read_identity(read_owner_config(tmp_path / "model-owner"))


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds files that are not a rendering"):
        render(topology(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"):
        render(topology(), tmp_path / "thesis.tex")


def test_another_clusters_directory_is_left_alone(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="not the authority of cluster 'other'"):
        render(topology(cluster="other"), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_folders_without_a_role_any_more_are_told_of(tmp_path: Path) -> None:
    render(topology(data_owners=["alice", "bob"]), tmp_path)
    assert render(topology(data_owners=["alice"]), tmp_path).left_over == (tmp_path / "data-owner-bob",)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    (tmp_path / "data-owner" / "key.pem").chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        read_identity(read_owner_config(tmp_path / "data-owner"))


def test_a_key_of_another_role_is_refused(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    key = (tmp_path / "model-owner" / "key.pem").read_bytes()
    (tmp_path / "data-owner" / "key.pem").write_bytes(key)
    with pytest.raises(UserError, match="does not belong to"):
        read_identity(read_owner_config(tmp_path / "data-owner"))
    for name in ("key.pem", "certificate.pem"):
        (tmp_path / "data-owner" / name).write_bytes((tmp_path / "model-owner" / name).read_bytes())
    with pytest.raises(UserError, match="is for model-owner of cluster lab, the configuration is for data-owner"):
        read_identity(read_owner_config(tmp_path / "data-owner"))


@pytest.mark.parametrize("name", ["ca.pem", "certificate.pem", "key.pem"])
def test_a_missing_or_broken_file_is_named(tmp_path: Path, name: str) -> None:
    render(topology(), tmp_path)
    path = tmp_path / "data-owner" / name
    path.write_bytes(b"-----BEGIN NOTHING-----")
    with pytest.raises(UserError, match=re.escape(name)):
        read_identity(read_owner_config(tmp_path / "data-owner"))
    path.unlink()
    with pytest.raises(UserError, match=re.escape(f"{name}: no such file")):
        read_identity(read_owner_config(tmp_path / "data-owner"))


def test_the_authority_signs_only_with_its_own_key(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    stranger = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "authority" / "ca-key.pem").write_bytes(stranger)
    with pytest.raises(UserError, match=r"does not belong to ca\.pem"):
        render(topology(), tmp_path)


def test_an_owners_folder_is_found_in_a_rendered_directory(tmp_path: Path) -> None:
    render(topology(data_owners=["alice", "bob"]), tmp_path)
    assert owner_folder(tmp_path, "data-owner", "bob") == tmp_path / "data-owner-bob"
    assert owner_folder(tmp_path / "data-owner-bob", "data-owner") == tmp_path / "data-owner-bob"
    with pytest.raises(UserError, match="several data-owners"):
        owner_folder(tmp_path, "data-owner")
    with pytest.raises(UserError, match="no folder of a data owner called carol"):
        owner_folder(tmp_path, "data-owner", "carol")


def test_every_file_has_the_mode_that_its_readers_need_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        render(read_topology(REPOSITORY / "configs" / "three-hosts.yaml"), tmp_path / "deployment")
    finally:
        os.umask(before)
    found = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "deployment", *tmp_path.rglob("*")]
    }
    readable = {"deployment": 0o755, "deployment/monitoring": 0o755, "deployment/monitoring/targets.yaml": 0o644}
    assert found.items() >= readable.items()
    private = {name: mode for name, mode in found.items() if name.endswith("key.pem")}
    assert set(private.values()) == {0o600}
    assert len(private) == 6
    roles = {name: mode for name, mode in found.items() if name.count("/") == 1 and not name.endswith(("yaml", "ing"))}
    assert set(roles.values()) == {0o700}
    assert {mode for name, mode in found.items() if name.endswith(("yaml", "certificate.pem", "ca.pem"))} == {0o644}


def test_a_rendering_that_was_cut_off_is_completed_by_the_next(tmp_path: Path) -> None:
    render(topology(), tmp_path)
    signed = certificate(tmp_path / "party-0" / "certificate.pem")
    (tmp_path / "authority" / "ca.pem").unlink()  # as where the disk was full after the key
    render(topology(), tmp_path)
    renewed = certificate(tmp_path / "authority" / "ca.pem")
    signed.verify_directly_issued_by(renewed)
    assert certificate(tmp_path / "party-0" / "certificate.pem") == signed


def test_a_full_disk_leaves_nothing_that_the_next_rendering_cannot_use(tmp_path: Path) -> None:
    program = f"""
import subprocess
from pathlib import Path
from freediv.deploy.demonstration import free_topology
from freediv.deploy.render import render
from freediv.errors import UserError
disk, topology, failed = Path({str(tmp_path)!r}), free_topology(), 0
for pages in range(1, 31, 3):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={{4 * pages}}k", "tmpfs", disk], check=True)
    try:
        render(topology, disk / "deployment")
    except UserError as error:
        assert "No space left on device" in str(error), error
        failed += 1
    left = [path.name for path in disk.rglob(".*")]
    assert not left, left
    subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
    assert len(render(topology, disk / "deployment").folders) == 5
    subprocess.run(["umount", disk], check=True)
print(failed)
"""
    done = subprocess.run(["unshare", "-m", sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("only root may mount")
    assert int(done.stdout or 0) > 4, done.stderr
