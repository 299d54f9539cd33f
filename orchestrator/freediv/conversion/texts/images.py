"""Images in files: one, a folder, a folder of folders named for classes, or rows that name files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ..run_directory import file_digest
from .rows import Row, read_rows

_ENDINGS = (".png", ".jpg", ".jpeg")
_TABLES = (".csv", ".tsv", ".jsonl")
COLUMN = "image"
"""Of files' names, where no other is named."""


def read_images(path: Path, column: str = COLUMN) -> list[Path]:
    """The image at a path, or all in a folder (those of its folders, too) by their names, or those that a column of a
    `.csv`, `.tsv` or `.jsonl` file names.

    Raises:
        UserError: there is none, or the file does not name any.
    """
    if path.is_dir():
        return files_in(path)
    if path.suffix.lower() not in _TABLES:
        return [path]
    found = [named(row, column, path, line) for line, row in read_rows(path)]
    if not found:
        raise UserError(f"{path} has no rows; name at least one image")
    return found


def files_in(folder: Path) -> list[Path]:
    """All images in a folder, and in its folders, by their names.

    Raises:
        UserError: there is none.
    """
    found = sorted(one for one in folder.rglob("*") if one.suffix.lower() in _ENDINGS and one.is_file())
    if not found:
        raise UserError(f"{folder}: is a directory that holds no image ({', '.join(_ENDINGS)}); give a file, or images")
    return found


def by_class(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Where each image of a folder stands, its file, and the name of the folder in which it is: its class.

    Raises:
        UserError: there is none, or one is in no folder.
    """
    for path in files_in(folder):
        first, *inner = path.relative_to(folder).parts
        if not inner:
            raise UserError(f"{path}: is in no folder that names its class; put images into one for each")
        yield str(path), path, first


def named(row: Row, column: str, path: Path, line: int) -> Path:
    """The file that a row names, from where the table stands.

    Raises:
        UserError: it names none.
    """
    if column not in row:
        found = ", ".join(sorted(row))
        raise UserError(
            f"{path}, line {line}: there is no column '{column}' (there are: {found}); name it with an option"
        )
    name = row[column]
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{path}, line {line}: column '{column}' names no file; remove the row")
    return path.parent / name.strip()


def digest_of(folder: Path) -> str:
    """A SHA-256 of a folder's images and their names."""
    told = (f"{path.relative_to(folder)} {file_digest(path)}\n" for path in files_in(folder))
    return hashlib.sha256("".join(told).encode()).hexdigest()
