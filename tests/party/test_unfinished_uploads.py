"""Uploads that were cut: whose they are, how long they are kept, and how many."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest
from freediv.cluster.configuration import Limits
from freediv.errors import UserError
from freediv.party.models import unfinished_uploads as module
from freediv.party.models.unfinished_uploads import UnfinishedUploads
from freediv.wire.share_transfer import BadTransfer, StreamEnded

IDS = tuple(letter * 32 for letter in "abcdef")


def cut(uploads: UnfinishedUploads, model_id: str, *, age_s: float = 0, nbytes: int = 100) -> Path:
    """An upload that was cut so long ago."""
    with pytest.raises(StreamEnded), uploads.under_way(model_id):
        path = uploads.begin(model_id, "its owner", bytes(nbytes))
        raise StreamEnded
    if path.exists():
        os.utime(path, (0, time.time() - age_s))
    return path


def names(store: Path) -> list[str]:
    return sorted(path.name.removeprefix("incoming-")[:1] for path in store.iterdir())


def test_an_upload_that_was_cut_is_its_owners_and_nobody_elses(tmp_path: Path) -> None:
    uploads = UnfinishedUploads(tmp_path, Limits())
    path = cut(uploads, IDS[0])
    assert UnfinishedUploads(tmp_path, Limits()).find(IDS[0], "its owner") == path  # also after a restart
    assert uploads.find(IDS[1], "its owner") is None
    with pytest.raises(ValueError, match="another owner's"):
        uploads.find(IDS[0], "another")


@pytest.mark.parametrize("wrong", [BadTransfer("not the parameter that is due"), UserError("the disk is full")])
def test_an_upload_with_something_wrong_in_it_is_not_kept(tmp_path: Path, wrong: Exception) -> None:
    uploads = UnfinishedUploads(tmp_path, Limits())
    with pytest.raises(type(wrong)), uploads.under_way(IDS[0]):
        uploads.begin(IDS[0], "its owner", b"bundle")
        raise wrong
    assert names(tmp_path) == []


def test_what_is_kept_is_bounded_in_time_number_and_bytes(tmp_path: Path) -> None:
    limits = Limits(unfinished_s=100, unfinished_uploads=3, unfinished_bytes=1000)
    uploads = UnfinishedUploads(tmp_path, limits)
    for age_s, model_id in zip((30, 20, 10, 0), IDS, strict=False):
        cut(uploads, model_id, age_s=age_s)
    assert names(tmp_path) == ["b", "c", "d"]
    os.utime(tmp_path / f"incoming-{IDS[2]}", (0, time.time() - 101))
    uploads.forget()
    assert names(tmp_path) == ["b", "d"]
    cut(uploads, IDS[4], nbytes=800)
    assert names(tmp_path) == ["d", "e"]  # the second was the oldest
    cut(uploads, IDS[5], nbytes=1001)
    assert "f" not in names(tmp_path)


def test_time_passes_while_a_party_is_stopped(tmp_path: Path) -> None:
    cut(UnfinishedUploads(tmp_path, Limits()), IDS[0], age_s=10)
    cut(UnfinishedUploads(tmp_path, Limits()), IDS[1])
    UnfinishedUploads(tmp_path, Limits(unfinished_s=5))
    assert names(tmp_path) == ["b"]


def test_a_party_that_runs_on_forgets_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    uploads = UnfinishedUploads(tmp_path, Limits(unfinished_s=100))
    path = cut(uploads, IDS[0], age_s=101)
    assert path.is_dir()

    async def until_it_is_gone() -> None:
        looking = asyncio.ensure_future(uploads.keep_forgetting())
        while path.exists():
            await asyncio.sleep(0.01)
        looking.cancel()

    asyncio.run(asyncio.wait_for(until_it_is_gone(), 30))


def test_the_upload_under_way_is_not_forgotten_however_slow_it_is(tmp_path: Path) -> None:
    uploads = UnfinishedUploads(tmp_path, Limits(unfinished_s=5))
    with pytest.raises(StreamEnded), uploads.under_way(IDS[0]):
        path = uploads.begin(IDS[0], "its owner", b"bundle")
        os.utime(path, (0, 0))
        uploads.forget()
        assert path.is_dir()
        raise StreamEnded
    assert not path.exists()


def test_room_is_made_by_the_oldest_and_never_by_the_one_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = UnfinishedUploads(tmp_path, Limits(unfinished_uploads=3))
    for age_s, model_id in enumerate(IDS[:3]):
        cut(uploads, model_id, age_s=age_s)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(500 - 100 * len(names(tmp_path))))
    with pytest.raises(StreamEnded), uploads.under_way(IDS[2]):
        assert uploads.room(100) == 200
        assert names(tmp_path) == ["a", "b", "c"]
        assert uploads.room(300) == 300
        assert names(tmp_path) == ["a", "c"]
        assert uploads.room(1000) == 400
        assert names(tmp_path) == ["c"]
        raise StreamEnded


def test_opening_removes_what_can_never_be_complete(tmp_path: Path) -> None:
    path = cut(UnfinishedUploads(tmp_path, Limits()), IDS[0])
    (path / ".embedding+word.share.torn").touch()
    (tmp_path / f"incoming-{IDS[1]}").mkdir()  # nobody knows whose
    UnfinishedUploads(tmp_path, Limits())
    assert sorted(one.name for one in path.iterdir()) == ["bundle", "owner"]
    assert names(tmp_path) == ["a"]
