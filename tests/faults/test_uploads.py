"""Uploads that are cut: the same command goes on where they were, and sends nothing twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment.conftest import Cluster, run_command
from freediv.chaos import Scene
from freediv.chaos.dying import die_in_upload
from freediv.errors import UserError
from freediv.model import parameter_shapes, read_model
from freediv.mpc.sharing.share_files import read_share
from freediv.owners import model_owner
from freediv.owners.model_owner import load, prepare_offer
from tiny import make_tiny_model

from .conftest import ask, wait_for


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that nobody has begun to upload."""
    return make_tiny_model(tmp_path / "model", seed=5)


@pytest.fixture
def whole(cluster: Cluster, tmp_path: Path) -> int:
    """Bytes of an upload from the beginning; every tiny model takes as many, and nobody has begun to send this one."""
    loading = load(cluster.folder("model-owner"), make_tiny_model(tmp_path / "whole", seed=6))
    assert loading.held == 0
    return loading.upload_bytes


def incoming(cluster: Cluster, rank: int) -> list[Path]:
    return list((cluster.folder(f"party-{rank}") / "store").glob("incoming-*"))


def cut(cluster: Cluster, model: Path) -> None:
    """Have the model owner be killed in mid-upload, and wait until no party writes any more."""
    for _ in range(5):
        die_in_upload(cluster.folder("model-owner"), model)
        settled(cluster)
        if all(incoming(cluster, rank) for rank in range(3)):
            return
    raise AssertionError("nothing of what the owner sent came to every party")


def settled(cluster: Cluster) -> None:
    def files() -> list[str]:
        return [str(path) for rank in range(3) for one in incoming(cluster, rank) for path in sorted(one.iterdir())]

    seen: list[list[str]] = []

    def unchanged() -> bool:
        seen.append(files())
        return len(seen) > 10 and all(one == seen[-1] for one in seen[-10:])

    wait_for(unchanged, "the parties have put away what came")


def held(cluster: Cluster, model: Path) -> Iterator[list[int]]:
    """Of each party, the bytes of the shares that it holds from the first on, until one is missing or damaged."""
    shapes = parameter_shapes(read_model(model).architecture, folded=True)
    for rank in range(3):
        [directory] = incoming(cluster, rank)
        found = []
        try:
            for stage, own in shapes.items():
                for name in own:
                    found.append(sum(map(len, read_share(directory, stage, name).chunks)))
        except UserError:
            pass
        yield found


def some(cluster: Cluster, rank: int) -> bool:
    return any(len(list(one.glob("*.share"))) > 3 for one in incoming(cluster, rank))


def flip_a_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-40] + bytes([content[-40] ^ 1]) + content[-39:])


def is_over(cluster: Cluster) -> bool:
    """Whether neither the parties nor the owner keep anything of an upload."""
    left = [path for rank in range(3) for path in incoming(cluster, rank)]
    return not left and not list((cluster.folder("model-owner") / "uploads").iterdir())


def test_an_owner_killed_in_mid_upload_sends_only_the_rest(
    cluster: Cluster, tiny_model: Path, whole: int, expected_labels: list[str]
) -> None:
    cut(cluster, tiny_model)
    before = [sum(found) + len(prepare_offer(tiny_model).bundle) for found in held(cluster, tiny_model)]
    assert min(before) > 0
    done = run_command("load", cluster.directory, tiny_model)
    assert done.returncode == 0, done.stderr
    said = re.search(
        r"\(([\d.]+) MB of shares sent, after (\d+)% of the weights in an upload that was cut", done.stdout
    )
    assert said is not None, done.stdout
    assert float(said[1]) == pytest.approx((whole - sum(before)) / 1e6, abs=0.05)
    assert 0 < int(said[2]) < 100
    assert ask(cluster) == expected_labels
    assert is_over(cluster)


def test_another_model_in_between_does_no_harm(
    cluster: Cluster, model: Path, tiny_model: Path, whole: int, expected_labels: list[str]
) -> None:
    owner = cluster.folder("model-owner")
    cut(cluster, tiny_model)
    before = [sum(found) + len(prepare_offer(tiny_model).bundle) for found in held(cluster, tiny_model)]
    other = load(owner, model)
    assert (other.upload_bytes, other.held) == (whole, 0)  # nothing of it is what the parties hold
    again = load(owner, tiny_model)
    assert again.upload_bytes == whole - sum(before)
    assert again.model_id != other.model_id
    assert ask(cluster) == expected_labels
    assert is_over(cluster)


def test_a_party_killed_in_mid_upload_gets_the_rest_when_it_is_back(
    cluster: Cluster, tiny_model: Path, whole: int, expected_labels: list[str]
) -> None:
    owner, party = cluster.folder("model-owner"), Scene(cluster.directory).party(1)

    def kill(step: str, part: float) -> None:
        if part > 0.3 and party.is_running():
            wait_for(lambda: all(some(cluster, rank) for rank in range(3)), "every party holds some shares")
            party.kill()
            party.wait(60)

    with pytest.raises(UserError, match=r"party 1 .*; loading the same model again goes on where this upload stopped"):
        load(owner, tiny_model, on_progress=kill)
    cluster.up()
    settled(cluster)
    found = list(held(cluster, tiny_model))
    assert min(map(len, found)) > 3
    # A share that is not whole any more comes again, and what came after it: to that party alone.
    [directory] = incoming(cluster, 2)
    shapes = parameter_shapes(read_model(tiny_model).architecture, folded=True)
    stage, name = [(stage, name) for stage, own in shapes.items() for name in own][2]
    flip_a_bit(directory / f"{stage}+{name}.share")
    after = list(held(cluster, tiny_model))
    assert (after[:2], after[2]) == (found[:2], found[2][:2])
    steps: list[tuple[str, float]] = []
    again = load(owner, tiny_model, on_progress=lambda *step: steps.append(step))
    bundles = 3 * len(prepare_offer(tiny_model).bundle)
    assert again.upload_bytes == whole - sum(map(sum, after)) - bundles
    assert 0 < again.held < 1
    assert (f"going on where an upload was cut, at {again.held:.0%}", again.held) in steps
    assert ask(cluster) == expected_labels
    assert is_over(cluster)


def test_an_upload_that_only_lacked_the_switch_sends_nothing_again(
    cluster: Cluster, tiny_model: Path, whole: int, expected_labels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But where what all parties hold cannot be used, the next upload begins anew."""
    owner = cluster.folder("model-owner")

    class Gone(Exception):  # noqa: N818
        pass

    async def go_away(*_: object) -> None:
        raise Gone

    def upload_without_switch() -> str:
        with monkeypatch.context() as patch, pytest.raises(Gone):
            patch.setattr(model_owner, "_activate", go_away)
            load(owner, tiny_model)
        [kept] = (owner / "uploads").iterdir()
        return json.loads(kept.read_text())["model_id"]

    model_id = upload_without_switch()
    again = load(owner, tiny_model)
    assert (again.model_id, again.upload_bytes, again.held) == (model_id, 0, 1)
    assert is_over(cluster)
    model_id = upload_without_switch()
    flip_a_bit(sorted((cluster.folder("party-2") / "store" / model_id).glob("*.share"))[0])
    with pytest.raises(UserError, match="damaged"):
        load(owner, tiny_model)
    assert load(owner, tiny_model).upload_bytes == whole
    assert ask(cluster) == expected_labels
    assert is_over(cluster)
