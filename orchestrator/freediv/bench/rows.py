"""Rows that a command wrote with `--json`, read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError

T = TypeVar("T")
_MOST_BYTES = 1 << 24


def read_written(path: Path, parse: Callable[[Any], T], otherwise: str) -> T:
    """What `parse` makes of a file's JSON.

    Args:
        path: the file.
        parse: raises KeyError, TypeError or ValueError where rows are not what they should be.
        otherwise: what is said of a file that holds something else, after its name.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise UserError(f"{path}: {otherwise}") from None
