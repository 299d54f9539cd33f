"""The bill of materials: everything that is locked, with its digests, and what the image holds beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from deployment.conftest import assert_one_line_error, run_command
from freediv.deploy.containers.sbom import Contents, bill_of_materials, read_lock
from freediv.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


def components(text: str) -> dict[str, dict[str, Any]]:
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "freediv"
    return {component["purl"]: component for component in document["components"]}


def test_everything_that_is_locked_is_listed_with_all_its_digests() -> None:
    done = run_command("images", "sbom", "--lock-only", "--source", REPOSITORY)
    assert done.returncode == 0, done.stderr
    listed = components(done.stdout)
    text = (REPOSITORY / "requirements.lock").read_text()
    pins = re.findall(r"^([\w.-]+)==(\S+)( ; [^\n\\]*)? \\\n((?:    --hash=\S+(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) > 50
    for name, version, marker, hashes in pins:
        if marker and ">= '3.11'" not in marker:
            continue  # for another Python, or another system, than the image's
        component = listed[f"pkg:pypi/{name.lower()}@{version.replace('+', '%2B')}"]
        assert {one["content"] for one in component["hashes"]} == set(re.findall(r"sha256:([0-9a-f]{64})", hashes))
        assert component["scope"] == "required"


def test_what_the_image_lacks_is_excluded_and_what_debian_gives_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "requirements.lock"
    path.write_text(f"kept==1.0 \\\n    --hash=sha256:{'a' * 64}\nleft-out==2.0 \\\n    --hash=sha256:{'b' * 64}\n")
    contents = Contents(frozenset({("kept", "1.0"), ("stray", "3")}), (("libgomp1", "12.2.0-14", "amd64"),))
    listed = components(bill_of_materials(read_lock(path), contents))
    assert listed["pkg:pypi/kept@1.0"]["scope"] == "required"
    assert listed["pkg:pypi/left-out@2.0"]["scope"] == "excluded"
    assert "pkg:pypi/stray@3" in listed  # in the image, though nobody locked it
    assert "pkg:deb/debian/libgomp1@12.2.0-14?arch=amd64" in listed


def test_a_package_without_a_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requirements.lock"
    path.write_text("unchecked==1.0\n")
    with pytest.raises(UserError, match="unchecked is locked without a hash"):
        read_lock(path)
    assert_one_line_error(run_command("images", "sbom", "--lock-only", "--source", tmp_path / "gone"), "no such file")


@pytest.mark.containers
def test_the_image_holds_what_is_locked_and_nothing_else(images: dict[str, str]) -> None:
    done = run_command("images", "sbom", "--source", REPOSITORY)
    assert done.returncode == 0, done.stderr
    listed = components(done.stdout)
    assert any(purl.startswith("pkg:deb/debian/libgomp1@") for purl in listed)
    python = {purl: one for purl, one in listed.items() if purl.startswith("pkg:pypi/")}
    assert [purl for purl, one in python.items() if not one.get("hashes")] == []
    assert python["pkg:pypi/spu@0.9.5"]["scope"] == "required"
    assert next(one for purl, one in python.items() if "/transformers@" in purl)["scope"] == "excluded"
