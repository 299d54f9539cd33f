"""Programs that an earlier process compiled, on disk: SPU's compiler takes ten times as long as tracing a stage."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from ...files import kept_directory, remove_oldest

_MOST_BYTES = 100_000_000
"""Of programs, of some kilobytes each; the oldest go."""
_PATIENCE_S = 10.0
"""How long another process may take: one that stands still keeps nobody waiting."""


def kept(source: str, compile: Callable[[], bytes]) -> bytes:
    """The program that belongs to a source: from disk, else compiled by one process while others that need it wait.

    What lies there is taken if it is what was written. All parties compare their programs before they run them.
    """
    directory = kept_directory("programs")
    if directory is None:
        return compile()
    try:
        file = os.fdopen(os.open(_path(directory, source), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
    except OSError:
        return compile()
    with file:
        if not _locked(file.fileno()):
            return compile()
        if (code := _sound(file.read())) is not None:
            return code
        code = compile()
        with contextlib.suppress(OSError):  # no room: the next process compiles it again
            file.seek(0)
            file.truncate()
            file.write(hashlib.sha256(code).digest() + code)
            file.flush()
            remove_oldest(directory, _MOST_BYTES)
    return code


def _path(directory: Path, source: str) -> Path:
    return directory / hashlib.sha256(source.encode()).hexdigest()


def _locked(descriptor: int) -> bool:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        except OSError:  # this file system has no locks: what lies there is compared all the same
            return True
        else:
            return True


def _sound(content: bytes) -> bytes | None:
    digest, code = content[:32], content[32:]
    return code if digest == hashlib.sha256(code).digest() else None
