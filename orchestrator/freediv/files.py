"""Writing files: whole or not at all, with the mode that their content needs, and where their name leads."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from .errors import UserError, one_line

PRIVATE = 0o600
"""Mode of a file for its owner alone: keys, shares, texts, predictions."""
READABLE = 0o644
"""Mode of a file that other users may read, such as those that containers and Prometheus run as."""
_ROOM = 1 << 20
_DESCRIPTOR = re.compile(r"/proc/(\d+)/fd/(\d+)")


class WriteError(UserError, OSError):
    """A file that cannot be written: an `OSError` with number, reason and path, and a line for the user."""

    def __init__(self, number: int | None, reason: str, path: Path) -> None:
        OSError.__init__(self, number, reason, str(path))

    def __str__(self) -> str:
        return one_line(f"{self.filename}: cannot be written ({self.strerror})")


class NewFile:
    """A file that is opened now and written later: its place is found good, or not, before any work is done for it.

    A regular file appears under its name when it is whole (`commit`), in place of an earlier one, which otherwise stays
    as it was. Symbolic links are followed; devices, pipes and descriptors (`/dev/stdout`) are written to as they are.
    Use it in a `with` block: what was not committed leaves nothing behind.
    """

    def __init__(self, path: Path, mode: int | None = None, *, durable: bool = False, room: int = 0) -> None:
        """Open it.

        Args:
            path: what it will be called.
            mode: its permissions, whatever the umask; None: as the umask has it.
            durable: `commit` returns when it is on the disk.
            room: bytes that the disk is made to set aside, so that a full one is found out now.

        Raises:
            WriteError: it cannot be.
        """
        self.path, self._durable = path, durable
        self._temporary: Path | None = None
        self.is_printed = False
        """Whether it is standard output, where nothing else belongs then."""
        with _not_written(path):
            self._target = _follow(path)
            if not self._target.parent.is_dir():
                raise OSError(errno.ENOENT, f"there is no directory {self._target.parent}: create it first")
            if (descriptor := _as_it_is(self._target)) is None:
                descriptor, name = tempfile.mkstemp(dir=self._target.parent, prefix=f".{self._target.name[:64]}.")
                self._temporary = Path(name)
            self.file = cast("BinaryIO", os.fdopen(descriptor, "wb"))
            with self._cleared():
                if self._temporary is None:
                    os.write(descriptor, b"")  # a full device says so
                    self.is_printed = os.path.sameopenfile(descriptor, 1)
                else:
                    os.fchmod(descriptor, 0o666 & ~_umask() if mode is None else mode)
                    if room:
                        os.posix_fallocate(descriptor, 0, room)
                        os.ftruncate(descriptor, 0)

    @property
    def name(self) -> str:
        """The name under which a regular file lies until it is committed."""
        return str(self._temporary or self._target)

    def write(self, content: bytes | str | Iterable[bytes]) -> None:
        """Write all that it will hold, and commit it.

        Raises:
            WriteError: it cannot be; the earlier file stays.
        """
        pieces = [content.encode(errors="replace")] if isinstance(content, str) else content
        with _not_written(self.path), self._cleared():
            for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                self.file.write(piece)
        self.commit()

    def commit(self) -> None:
        """What was written is all: from now on it is the file of that name.

        Raises:
            WriteError: as `write`.
        """
        with _not_written(self.path), self._cleared():
            self.file.flush()
            if self._temporary is None:
                return self.file.close()
            if self._durable:
                os.fsync(self.file.fileno())
            self.file.close()
            self._temporary.replace(self._target)
            self._temporary = None
            if self._durable:
                _sync_directory(self._target.parent)

    def close(self) -> None:
        """Leave nothing behind of what was not committed."""
        with contextlib.suppress(OSError):  # what it still buffers has no place
            self.file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _cleared(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def replace_file(path: Path, content: bytes | str, mode: int | None = None, *, durable: bool = False) -> None:
    """Write a file in one step: who reads it sees the earlier one or this one.

    Raises:
        WriteError: it cannot be written; the earlier one stays.
    """
    with NewFile(path, mode, durable=durable) as new:
        new.write(content)


def opened_output(path: Path | None, mode: int | None = None) -> NewFile | contextlib.nullcontext[None]:
    """A file that a command will write when its work is done, opened before it; nothing where none is asked for.

    Raises:
        WriteError: it cannot be written, or the disk has no room.
    """
    return contextlib.nullcontext() if path is None else NewFile(path, mode, room=_ROOM)


def require_distinct(*paths: Path | None) -> None:
    """Of the files that a command reads and writes, no two are one: the last written would be all that is left.

    Raises:
        UserError: two are. Devices and pipes may be.
    """
    named = [path for path in paths if path is not None and (path.is_file() or not path.exists())]
    for place, path in enumerate(named):
        if any(path.resolve() == other.resolve() or _is_same(path, other) for other in named[:place]):
            raise UserError(f"{path}: is named twice, and would be written over; give each its own file")


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def make_directory(path: Path, mode: int) -> None:
    """Make a directory, and those above it that are not there, with these permissions; one that is there stays.

    Raises:
        WriteError: it cannot be made.
    """
    with _not_written(path):
        for one in reversed([one for one in (path, *path.parents) if not one.exists()]):
            one.mkdir(mode, exist_ok=True)
            one.chmod(mode)
        path.mkdir(exist_ok=True)  # a file in its place is an error


@contextmanager
def _not_written(path: Path) -> Iterator[None]:
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(error.errno, error.strerror or str(error), path) from None


def _follow(path: Path) -> Path:
    """Where symbolic links lead, as far as a link of the kernel's to an open file."""
    for _ in range(40):
        if _descriptor(path) is not None or not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _descriptor(path: Path) -> int | None:
    """The number of an open file of this process, where the path is the kernel's name of one."""
    found = _DESCRIPTOR.fullmatch(str(path.parent.resolve() / path.name))
    return int(found[2]) if found and int(found[1]) == os.getpid() else None


def _as_it_is(path: Path) -> int | None:
    """A descriptor of what is written in place: an open file, a device, a pipe, a file that is mounted by itself."""
    if (own := _descriptor(path)) is not None:
        return os.dup(own)  # with the position that others of this process write at
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode) and found.st_dev == path.parent.stat().st_dev:
        return None
    return os.open(path, os.O_WRONLY | (os.O_TRUNC if stat.S_ISREG(found.st_mode) else 0))


def _umask() -> int:
    """Of this process, which the kernel tells without changing it, unlike `os.umask`."""
    found = re.search(
        r"^Umask:\s+([0-7]+)$", Path("/proc/self/status").read_text(encoding="ascii", errors="replace"), re.M
    )
    return int(found[1], 8) if found else 0o077


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def kept_directory(name: str) -> Path | None:
    """Where this user's processes keep what the next ones would make again: `$FREEDIV_CACHE`, or their cache directory.

    For its owner alone, as what lies there is run. None where `FREEDIV_CACHE` is empty, or nothing can be written.
    """
    with contextlib.suppress(OSError, RuntimeError):  # there is no home, or no room in it
        usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        chosen = os.environ.get("FREEDIV_CACHE", str(Path(usual) / "freediv"))
        if chosen and Path(chosen).is_absolute():
            directory = Path(chosen) / name
            directory.mkdir(0o700, parents=True, exist_ok=True)
            found = directory.stat()
            if found.st_uid == os.geteuid() and not found.st_mode & 0o022 and os.access(directory, os.W_OK):
                return directory
    return None


def remove_oldest(directory: Path, most_bytes: int) -> None:
    """Leave no more than so many bytes of files in a directory, those written last."""
    with contextlib.suppress(OSError):  # another process does the same, or it is not ours to tidy
        found = sorted(
            ((entry.stat(), entry.path) for entry in os.scandir(directory)), key=lambda one: -one[0].st_mtime_ns
        )
        for total, (_, path) in zip(accumulate(own.st_size for own, _ in found), found, strict=True):
            if total > most_bytes:
                Path(path).unlink(missing_ok=True)
