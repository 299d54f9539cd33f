"""Writing a directory as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError


def require_new(out: Path) -> None:
    """Refuse an output that is there already, before any work is done for it.

    Raises:
        UserError: `out` exists and is not an empty directory, or its parent does not exist.
    """
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such directory; make it first")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is already there; name another output, or remove it")


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory to fill, which becomes `out` when the block ends well and is removed when it does not."""
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        if out.is_dir():
            out.rmdir()
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
