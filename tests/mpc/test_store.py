"""Weight shares on a party's disk."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.model import parameter_shapes
from freediv.mpc.sharing import share_files as store
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.sharing.shares import Share, share

from .parties import architecture


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    store.begin(place)
    return place


@pytest.fixture
def part() -> Share:
    return share(np.arange(12.0).reshape(3, 4))[2]


def _only_file(directory: Path) -> Path:
    (found,) = directory.iterdir()
    return found


def test_a_share_comes_back_and_only_its_owner_can_read_it(directory: Path, part: Share) -> None:
    store.write_share(directory, "encoder.0.attention", "qkv.weight", part)
    back = store.read_share(directory, "encoder.0.attention", "qkv.weight")
    assert back == part
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(_only_file(directory).stat().st_mode) == 0o600


@pytest.mark.parametrize("at", [0, 20, 200, -1, -40])
def test_a_damaged_file_is_named(directory: Path, part: Share, at: int) -> None:
    store.write_share(directory, "classifier", "weight", part)
    path = _only_file(directory)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(path.name)}: damaged"):
        store.read_share(directory, "classifier", "weight")


@pytest.mark.parametrize("keep", [0, 5, 100, -1, -32])
def test_a_truncated_file_is_named(directory: Path, part: Share, keep: int) -> None:
    store.write_share(directory, "classifier", "weight", part)
    path = _only_file(directory)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f"{re.escape(path.name)}: damaged"):
        store.read_share(directory, "classifier", "weight")


def test_a_file_in_anothers_place_is_refused(directory: Path, part: Share) -> None:
    store.write_share(directory, "classifier", "weight", part)
    path = _only_file(directory)
    path.rename(path.with_name(path.name.replace("weight", "bias")))
    with pytest.raises(UserError, match="holds classifier/weight, not classifier/bias"):
        store.read_share(directory, "classifier", "bias")


def test_a_missing_file_is_named(directory: Path) -> None:
    with pytest.raises(UserError, match=r"classifier\+weight\.share: cannot be read"):
        store.read_share(directory, "classifier", "weight")


def test_a_file_or_directory_that_others_may_read_is_refused(directory: Path, part: Share) -> None:
    store.write_share(directory, "classifier", "weight", part)
    path = _only_file(directory)
    path.chmod(0o640)
    with pytest.raises(UserError, match=re.escape(f"chmod 0600 {path}")):
        store.read_share(directory, "classifier", "weight")
    path.chmod(0o600)
    directory.chmod(0o755)
    with pytest.raises(UserError, match=re.escape(f"chmod 0700 {directory}")):
        store.read_share(directory, "classifier", "weight")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a" * 200, "a\nb"])
def test_a_name_cannot_leave_the_directory(directory: Path, part: Share, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        store.write_share(directory, "classifier", name, part)
    with pytest.raises(ValueError, match="name"):
        store.read_share(directory, name, "weight")


def test_a_write_that_fails_leaves_the_old_file(directory: Path, part: Share) -> None:
    store.write_share(directory, "classifier", "weight", part)
    torn = Share(part.meta, (part.chunks[0], None))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.write_share(directory, "classifier", "weight", torn)
    assert store.read_share(directory, "classifier", "weight") == part
    assert _only_file(directory).suffix == ".share"


def test_the_manifest_says_what_is_there_and_a_new_upload_takes_it_away(directory: Path, part: Share) -> None:
    model = architecture()
    manifest = store.Manifest(
        model_id="m", architecture=model, output="label", bundle_sha256="00", rank=2, protocol="ABY3", field="FM64",
        fraction_bits=18,
    )  # fmt: skip
    store.write_share(directory, "classifier", "weight", part)
    store.write_manifest(directory, manifest)
    assert store.read_manifest(directory) == manifest
    store.begin(directory)
    assert list(directory.iterdir()) == []
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read"):
        store.read_manifest(directory)
    (directory / "manifest.json").write_text("{}")
    (directory / "manifest.json").chmod(0o600)
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        store.read_manifest(directory)


def test_all_shares_of_a_model_are_read_and_checked_against_its_shapes(directory: Path) -> None:
    model = architecture(layers=1)
    shapes = parameter_shapes(model, folded=True)
    for stage, own in shapes.items():
        for name, shape in own.items():
            store.write_share(directory, stage, name, share(np.zeros(shape))[0])
    found = {(stage, name): part.shape for stage, name, part in store.read_all(directory, model, ProtocolSettings())}
    assert found == {(stage, name): shape for stage, own in shapes.items() for name, shape in own.items()}
    store.write_share(directory, "classifier", "bias", share(np.zeros(3))[0])
    with pytest.raises(UserError, match=r"classifier\+bias\.share: a share of shape \[3\] came where \[2\]"):
        list(store.read_all(directory, model, ProtocolSettings()))


@pytest.mark.parametrize("made", [{"fraction_bits": 16}, {"protocol": "SEMI2K"}])
def test_shares_that_were_made_for_another_ring_are_not_run(directory: Path, made: dict[str, object]) -> None:
    """A topology rendered again with 18 bits: every weight would be four times what it is."""
    known = {"model_id": "m", "architecture": architecture(), "output": "label", "bundle_sha256": "00", "rank": 0}
    for settings in ({}, made):
        ring = {"protocol": "ABY3", "field": "FM64", "fraction_bits": 18} | settings
        store.write_manifest(directory, store.Manifest.model_validate(known | ring))
        with pytest.raises(UserError, match="load the model again" if settings else "cannot be read") as refused:
            list(store.read_all(directory, architecture(), ProtocolSettings()))
        assert ("the cluster has ABY3 in FM64 with 18" in str(refused.value)) == bool(settings)
