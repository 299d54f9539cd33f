"""Changing the lists by which parties turn callers away."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError
from ..files import READABLE, replace_file
from .configuration import read_party_config
from .credentials import REVOKED, fingerprint, read_revoked, revocable

_HEADING = (
    "# Whom this party answers no more: a role, or a certificate's SHA-256 fingerprint. Read again when it changes."
)


def revoked(directory: Path) -> dict[Path, list[str]]:
    """The list of every party of a rendered directory, or of the one party whose folder it is.

    Raises:
        UserError: it holds no party, or a list cannot be read.
    """
    return {folder: read_revoked(folder / REVOKED) for folder in _folders(directory)}


def change(directory: Path, who: str, *, undo: bool = False) -> tuple[str, list[Path]]:
    """Put somebody on the list of every party of a directory, or take them off it.

    Args:
        directory: a rendered directory, or a party's folder.
        who: a role, a certificate's fingerprint, or the path of a certificate.
        undo: take them off.

    Returns:
        What the lists say, and the folders of the parties.

    Raises:
        UserError: there is no such role or certificate, or a list cannot be written.
    """
    folders = _folders(directory)
    entry = _entry(who, read_party_config(folders[0]).cluster)
    known = sorted(path.parent.name for path in directory.glob("*/config.yaml"))
    if known and "-" in entry and entry.replace("/", "-") not in known and not undo:
        raise UserError(f"{who}: {directory} has no such role; it has {', '.join(known)}")
    for folder in folders:
        others = [line for line in read_revoked(folder / REVOKED) if line != entry]
        lines = others if undo else [*others, entry]
        replace_file(folder / REVOKED, "\n".join([_HEADING, *lines]) + "\n", READABLE, durable=True)
    return entry, folders


def _folders(directory: Path) -> list[Path]:
    if (directory / "config.yaml").is_file():
        read_party_config(directory)
        return [directory]
    found = sorted(path.parent for path in directory.glob("party-[0-9]/config.yaml"))
    if not found:
        raise UserError(f"{directory}: holds no party's folder; give a rendered directory or a party's folder")
    return found


def _entry(who: str, cluster: str) -> str:
    if (entry := revocable(who, cluster)) is not None:
        return entry
    try:
        return fingerprint(Path(who).read_bytes())
    except (OSError, ValueError):
        raise UserError(
            f"{who}: is no role (such as data-owner/alice), no fingerprint and no certificate's file"
        ) from None
