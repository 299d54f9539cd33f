"""Writing a directory as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..files import opened_output


def require_new(out: Path) -> None:
    """Refuse an output that is there already, or cannot be made, before any work is done for it.

    Raises:
        UserError: `out` exists and is not an empty directory, its parent does not exist, or may not be written to.
    """
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such directory; make it first")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is already there; name another output, or remove it")
    with opened_output(_partial(out)):
        pass


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory to fill, which becomes `out` when the block ends well and is removed when it does not.

    An empty directory that is there may be a mounted one, or somebody's working directory: it is filled, not replaced.
    """
    partial = _partial(out)
    partial.mkdir()
    try:
        yield partial
        if not out.is_dir():
            partial.replace(out)
            return
        for path in partial.iterdir():
            path.replace(out / path.name)
        partial.rmdir()
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _partial(out: Path) -> Path:
    """Where it is filled: on the disk that it will be on."""
    return (out if out.is_dir() else out.parent) / f".{out.name}.{os.getpid()}"
