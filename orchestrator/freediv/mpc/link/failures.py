"""Why a worker is lost. Each carries one line, fit for an operator: no text, token or share is ever in it."""

from __future__ import annotations

import traceback
from pathlib import Path


class WorkerFailed(Exception):  # noqa: N818 (an event, not a mistake)
    """The process that held the SPU runtime has ended, or can no longer be used."""


class PeerLost(WorkerFailed):
    """Another party, or the way to it, is gone."""


class ProgramMismatch(WorkerFailed):
    """The parties do not agree on what to run."""


class NotBegun(Exception):  # noqa: N818 (an event, not a mistake)
    """A run that a party could not begin, as all parties have heard: nothing was computed, and all workers go on."""


def unforeseen(error: Exception) -> str:
    """What an error of our own was and where, in one line, without its words: they could hold what nobody may see."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"an error that nobody foresaw ({type(error).__name__}{where})"
