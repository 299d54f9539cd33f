"""Files of a model's directory: their content, or that something else lies in its place."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError

_POINTER = b"version https://git-lfs"


def read_beside(path: Path, most: int = 1 << 26) -> str:
    """The text of a file beside the weights.

    Raises:
        UserError: it is Git LFS's pointer.
        OSError: it cannot be read.
        ValueError: it is not UTF-8, or has more than so many bytes.
    """
    require_content(path)
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"has more than {most:,} bytes")
    return content.decode("utf-8")


def require_content(path: Path) -> None:
    """Refuse what Git LFS leaves in a file's place until that is fetched.

    Raises:
        UserError: it is that.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise UserError(f"{path}: is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`")
