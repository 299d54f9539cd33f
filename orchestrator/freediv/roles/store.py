"""The models whose weight shares a party keeps on its disk, and which of them is in use.

store/active                    the ids of the model in use and of those that were in use before, newest first
store/MODEL_ID/                 one complete model: shares and manifest (secure.store), the public bundle, and what
                                owners have spent of their budgets (quotas)
store/incoming-MODEL_ID/        an upload (unfinished); becomes complete by being renamed
store/freediv-worker-*/         what a worker needs while it lives
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from pydantic import NonNegativeInt, TypeAdapter

from ..errors import UserError
from ..secure.store import Manifest, read_manifest

_MODEL_ID = re.compile(r"[0-9a-f]{32}")
BUNDLE = "bundle"
_SPENT = "spent.json"
_SPENT_BY_OWNER = TypeAdapter(dict[str, NonNegativeInt])


class ModelStore:
    """A party's models. Opening it removes what an earlier life of the party's worker left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            for path in directory.glob("freediv-worker-*"):
                shutil.rmtree(path)
        except OSError as error:
            raise UserError(f"{directory}: shares cannot be kept here ({error.strerror})") from error

    def stored(self) -> tuple[str, ...]:
        """Ids of the complete models: the one in use, those in use before, newest first, and those never in use."""
        found = sorted(path.name for path in self._directory.iterdir() if _MODEL_ID.fullmatch(path.name))
        used = [model_id for model_id in self._used() if model_id in found]
        return (*used, *(model_id for model_id in found if model_id not in used))

    @property
    def active(self) -> str:
        """Id of the model in use; empty where there is none, or its shares are gone."""
        model_id = next(iter(self._used()), "")
        return model_id if model_id in self.stored() else ""

    def _used(self) -> list[str]:
        try:
            return (self._directory / "active").read_text().split()
        except FileNotFoundError:
            return []

    def loaded_at(self, model_id: str) -> float:
        """When a complete model was uploaded, in seconds of the epoch."""
        return (self.directory(model_id) / BUNDLE).stat().st_mtime

    def directory(self, model_id: str) -> Path:
        """Where a complete model lies."""
        return self._directory / check_model_id(model_id)

    def manifest(self, model_id: str) -> Manifest:
        """What is public about a complete model."""
        return read_manifest(self.directory(model_id))

    def bundle(self, model_id: str) -> bytes:
        """The public bundle, as it was uploaded."""
        return (self.directory(model_id) / BUNDLE).read_bytes()

    def spent(self, model_id: str) -> dict[str, int]:
        """How many sentences each owner has had answered by a model, where that is counted.

        Raises:
            ValueError: the file is damaged.
            OSError: it cannot be read.
        """
        path = self.directory(model_id) / _SPENT
        return _SPENT_BY_OWNER.validate_json(path.read_bytes()) if path.exists() else {}

    def write_spent(self, model_id: str, spent: dict[str, int]) -> None:
        """Keep what `spent` gives; on disk when this returns.

        Raises:
            OSError: the disk does not take it.
        """
        replace_file(self.directory(model_id) / _SPENT, _SPENT_BY_OWNER.dump_json(spent, indent=2) + b"\n")

    def keep(self, model_id: str, most: int) -> None:
        """Use this model from now on (empty: the one in use already), and delete all but the last `most` in use.

        Raises:
            ValueError: there is no such model.
        """
        model_id = model_id or self.active
        if model_id:
            if model_id not in self.stored():
                raise ValueError(f"model {model_id} is not here")
            used = [model_id, *(other for other in self._used() if other != model_id)]
            replace_file(self._directory / "active", ("\n".join(used[:most]) + "\n").encode())
        for other in set(self.stored()) - set(self._used()):
            shutil.rmtree(self.directory(other))


def check_model_id(model_id: str) -> str:
    """The id, if it is one: it becomes the name of a directory.

    Raises:
        ValueError: it is not.
    """
    if not _MODEL_ID.fullmatch(model_id):
        raise ValueError("a model's id is 32 hexadecimal digits")
    return model_id


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file (0600) in one step, on the disk itself.

    Raises:
        OSError: the disk does not take it.
    """
    new = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
