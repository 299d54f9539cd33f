"""An owner that dies in the middle of what it does: `python -m freediv.chaos.dying upload|request FOLDER [MODEL]`.

It is killed from within, at a moment that it knows; whatever it had open ends as with any process that is killed.
Sentences come on standard input, a line each.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError

_PART = 0.3
"""Of all weights: shared with the parties when the model owner dies."""
_ON_THE_WAY_S = 0.5
"""For what was sent by then to arrive."""
_TIMEOUT_S = 300.0


def die_in_upload(folder: Path, model: str | Path) -> None:
    """Have a model owner share a model, and be killed before all of it has arrived.

    Raises:
        UserError: it ended in another way; says how.
    """
    _have_die(["upload", str(folder), str(model)], ())


def die_in_request(folder: Path, sentences: Sequence[str]) -> None:
    """Have a data owner ask, and be killed while the parties compute.

    Raises:
        UserError: it ended in another way; says how.
    """
    _have_die(["request", str(folder)], sentences)


def _have_die(arguments: list[str], lines: Sequence[str]) -> None:
    command = [sys.executable, "-m", __name__, *arguments]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, encoding="utf-8", timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != -signal.SIGKILL:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise UserError(f"an owner that was to die did not (exit status {done.returncode}, it said: {said[-1]})")


def _die(after_s: float = 0.0) -> None:
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Be that owner."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "upload":
        from ..cluster.configuration import read_owner_config
        from ..owners.model_owner import load_offer
        from .offer import owners_offer

        config = read_owner_config(folder)
        offer = owners_offer(config, sys.argv[3])
        asyncio.run(load_offer(config, offer, lambda _, part: _die(_ON_THE_WAY_S) if part > _PART else None))
    else:
        from ..owners.data_owner import infer

        lines = sys.stdin.read().splitlines()
        infer(folder, lines, on_progress=lambda progress: _die() if progress.done > 0 else None)


if __name__ == "__main__":
    main()
