"""Which folder of a rendered directory is whose."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError
from ..yaml_file import read_yaml
from .configuration import OwnerConfig, PartyConfig, WhoseFolder, read_owner_config, read_party_config


def owner_folder(directory: Path, role: str, name: str | None = None) -> Path:
    """The folder of an owner: the directory itself if it is one, else the one in a rendered directory.

    Args:
        directory: a rendered directory, or the folder of that role.
        role: `model-owner` or `data-owner`.
        name: of a data owner, where there are several.

    Raises:
        UserError: there is none, or there are several and none was named.
    """
    found = owner_folders(directory, role, name)
    if len(found) > 1:
        raise UserError(f"{directory}: holds several {role}s; give the folder of one: {', '.join(map(str, found))}")
    return found[0]


def owner_folders(directory: Path, role: str, name: str | None = None) -> list[Path]:
    """All that `owner_folder` could choose from.

    Raises:
        UserError: there is none.
    """
    if (directory / "config.yaml").is_file():
        return [directory]
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; make one with `freediv render`")
    found = sorted(path.parent for path in directory.glob(f"{role}*/config.yaml"))
    if name is not None:
        found = [path for path in found if path.name == f"{role}-{name}"]
    if not found:
        _require_entry(directory)
        raise UserError(
            f"{directory}: holds no folder of a {role.replace('-', ' ')}{f' called {name}' if name else ''}"
        )
    return found


def read_any_config(directory: Path) -> PartyConfig | OwnerConfig:
    """The configuration in a role's folder, or that of the lowest party in a rendered directory."""
    if (directory / "config.yaml").is_file():
        kind = read_yaml(directory / "config.yaml", WhoseFolder).role
        return read_party_config(directory) if kind == "party" else read_owner_config(directory)
    found = sorted(directory.glob("party-*/config.yaml"))
    if not found:
        _require_entry(directory)
        raise UserError(
            f"{directory}: is neither a rendered directory nor a role's folder; make one with `freediv render`"
        )
    return read_party_config(found[0])


def _require_entry(directory: Path) -> None:
    """Tell folders that another user may not enter, which look empty, from those that are not there.

    Raises:
        UserError: there is such a one.
    """
    for path in sorted(directory.glob("*/")):
        if not os.access(path, os.R_OK | os.X_OK):
            raise UserError(f"{path}: permission denied; run this as the user that it belongs to")
