"""Files are written whole or not at all, where their name leads, for those who may read them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from freediv.errors import UserError
from freediv.files import (
    PRIVATE,
    READABLE,
    NewFile,
    WriteError,
    make_directory,
    opened_output,
    replace_file,
    require_distinct,
)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_has_the_mode_that_its_content_needs_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    for name, wanted in (("key", PRIVATE), ("certificate", READABLE)):
        (tmp_path / name).write_text("earlier")
        (tmp_path / name).chmod(0o640)
        replace_file(tmp_path / name, name, wanted)
        assert mode(tmp_path / name) == wanted
        assert (tmp_path / name).read_text() == name
    replace_file(tmp_path / "chart", b"any")
    assert mode(tmp_path / "chart") == 0o666 & ~umask
    make_directory(tmp_path / "a" / "b", 0o755)
    assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == 0o755


def test_who_reads_meanwhile_sees_the_earlier_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")
    with NewFile(path) as new:
        new.file.write(b"la")
        new.file.flush()
        assert path.read_text() == "earlier"
        new.write(b"ter")
    assert path.read_text() == "later"
    assert names(tmp_path) == ["file"]


def test_what_breaks_off_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")

    def pieces() -> Iterator[bytes]:
        yield b"later"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), NewFile(path, durable=True) as new:
        new.write(pieces())
    with pytest.raises(ZeroDivisionError), opened_output(path):
        _ = 1 // 0
    assert path.read_text() == "earlier"
    assert names(tmp_path) == ["file"]


def test_links_are_followed_and_stay_links(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("earlier")
    (tmp_path / "link").symlink_to("there/file")
    (tmp_path / "dangling").symlink_to(tmp_path / "there" / "new")
    (tmp_path / "circle").symlink_to("circle")
    replace_file(tmp_path / "link", "later")
    replace_file(tmp_path / "dangling", "first")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "later"
    assert (tmp_path / "there" / "new").read_text() == "first"
    with pytest.raises(WriteError, match="Too many levels"):
        replace_file(tmp_path / "circle", "never")


def test_devices_and_pipes_are_written_through(tmp_path: Path) -> None:
    replace_file(Path(os.devnull), "private text", PRIVATE)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    os.mkfifo(tmp_path / "pipe")
    heard: list[str] = []
    listening = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_text()))
    listening.start()
    replace_file(tmp_path / "pipe", "said", PRIVATE)
    listening.join()
    assert heard == ["said"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could replace a device")
def test_a_device_in_a_folder_that_can_be_written_stays_a_device(tmp_path: Path) -> None:
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, Path(os.devnull).stat().st_rdev)
    replace_file(device, "private text", PRIVATE)
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert names(tmp_path) == ["null"]


def test_no_file_is_named_twice(tmp_path: Path) -> None:
    """Records would be written over by the page that is made from them."""
    here, link, hard = (tmp_path / name for name in ("here", "link", "hard"))
    link.symlink_to("here")
    require_distinct(here, None, tmp_path / "there", Path("/dev/null"), Path("/dev/null"))
    for same in (here, link, tmp_path / "." / "here"):  # not there yet
        with pytest.raises(UserError, match="named twice, and would be written over"):
            require_distinct(here, None, same)
    here.touch()
    hard.hardlink_to(here)
    with pytest.raises(UserError, match="named twice"):
        require_distinct(hard, here)


def test_a_new_file_knows_whether_it_is_standard_output(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from freediv.files import NewFile\n"
        f"for path in '/dev/stdout', '/dev/stderr', {str(tmp_path / 'a')!r}: print(NewFile(Path(path)).is_printed)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


@pytest.mark.parametrize("to", ["pipe", "file"])
def test_standard_output_by_name_is_where_it_leads(tmp_path: Path, to: str) -> None:
    program = (
        "from pathlib import Path; from freediv.files import replace_file; print('before', flush=True); "
        "replace_file(Path('/dev/stdout'), 'here\\n'); print('after')"
    )
    target = (tmp_path / "out").open("w") if to == "file" else subprocess.PIPE
    done = subprocess.run([sys.executable, "-c", program], stdout=target, text=True, check=True)
    assert (done.stdout or (tmp_path / "out").read_text()) == "before\nhere\nafter\n"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("gone/file", "there is no directory"), (".", "directory"), ("file/below", "there is no directory")],
)
def test_a_place_that_cannot_be_written_is_found_at_once(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=reason) as caught:
        opened_output(tmp_path / path)
    assert str(caught.value).startswith(f"{tmp_path / path}: cannot be written (")
    assert names(tmp_path) == ["file"]


def test_a_full_device_is_found_at_once() -> None:
    with pytest.raises(WriteError, match="No space left"):
        opened_output(Path("/dev/full"))


def test_a_full_disk_is_found_at_once_and_leaves_the_earlier_file(tmp_path: Path) -> None:
    """On a disk of its own of 256 KiB, where an empty file can be made but nothing be written into it."""
    program = f"""
import os, subprocess, sys
from pathlib import Path
from freediv.files import WriteError, opened_output, replace_file
disk = Path({str(tmp_path)!r})
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
(disk / "file").write_text("earlier")
filling = os.open(disk / "filling", os.O_WRONLY | os.O_CREAT)
try:
    while os.write(filling, bytes(4096)):
        pass
except OSError:
    pass
for call in (lambda: opened_output(disk / "file"), lambda: replace_file(disk / "file", bytes(5000))):
    try:
        call()
    except WriteError as error:
        print(error.strerror)
print(sorted(os.listdir(disk)), (disk / "file").read_text())
"""
    done = subprocess.run(["unshare", "-m", sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("only root may mount")
    assert done.stdout.splitlines() == ["No space left on device"] * 2 + ["['file', 'filling'] earlier"], done.stderr
