"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# A shell in the background has its children ignore Ctrl-C; some tests send it, and their processes inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that is not part of the repository: `$FREEDIV_SHARED`, or `shared` beside the clone."""
    directory = Path(os.environ.get("FREEDIV_SHARED", REPOSITORY.parent / "shared"))
    if not (directory / "data").is_dir():
        pytest.skip(f"needs {directory}/data, which is not here; FREEDIV_SHARED can name another place")
    return directory
