"""Where charts are drawn."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

from ...errors import UserError
from ...files import NewFile, opened_output


def opened_chart(path: Path | None) -> NewFile | nullcontext[None]:
    """A chart's file, opened before there is anything to draw; nothing where none is asked for.

    Raises:
        UserError: it cannot be written, or its name does not say which format it has.
    """
    if path is not None and path.suffix.lower() not in (".svg", ".png"):
        raise UserError(f"{path}: charts are drawn as .svg or .png; end the file's name in one of these")
    return opened_output(path)
