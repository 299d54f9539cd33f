"""The models whose weight shares a party keeps on its disk, and which of them is in use.

store/active                    the ids of the model in use and of those that were in use before, newest first
store/MODEL_ID/                 one complete model: shares and manifest (`share_files`), and the public bundle
store/spent/DIGEST.json         by a model's `public_digest`, what owners have spent of their budgets (quotas)
store/incoming-MODEL_ID/        an upload (unfinished); becomes complete by being renamed
"""

from __future__ import annotations

import hashlib
import re
import shutil
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from pydantic import NonNegativeInt, TypeAdapter

from ...errors import UserError
from ...files import PRIVATE, replace_file
from ...mpc.lookup.published_table import PUBLISHED, put_published
from ...mpc.sharing.share_files import Manifest, read_manifest
from ...wire import protocol_pb2 as pb

_MODEL_ID = re.compile(r"[0-9a-f]{32}")
BUNDLE = "bundle"
_SPENT = "spent"
_BEFORE = "spent.json"
"""In a model's directory: where earlier versions kept its counts."""
_SPENT_BY_OWNER = TypeAdapter(dict[str, NonNegativeInt])


class ModelStore:
    """A party's models."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._digests: dict[str, str] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
            (directory / _SPENT).mkdir(mode=0o700, exist_ok=True)
            for path in directory.glob(f"*/{_BEFORE}"):
                self._keep_counting(path)
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
            return (self._directory / "active").read_text(encoding="utf-8", errors="replace").split()
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

    def put_table(self, model_id: str) -> None:
        """Have a published word table lie where the worker reads it.

        Raises:
            UserError: the disk does not take it.
        """
        directory = self.directory(model_id)
        if (directory / PUBLISHED).exists() or self.manifest(model_id).architecture.embedding == "secret":
            return
        try:
            put_published(pb.Bundle.FromString(self.bundle(model_id)).word_table, directory)
        except OSError as error:
            raise UserError(f"{directory}: cannot be written to ({error.strerror})") from None

    def public_digest(self, model_id: str) -> str:
        """What a complete model is to its data owners: SHA-256 of architecture, tokenizer and public word table.

        The certificate is not in it: it may be measured anew, and the model is the same.
        """
        if model_id not in self._digests:
            content = pb.Bundle.FromString(self.bundle(model_id))
            digest = hashlib.sha256()
            for part in (content.architecture.encode(), content.tokenizer.encode(), content.word_table):
                digest.update(len(part).to_bytes(8, "big") + part)
            self._digests[model_id] = digest.hexdigest()
        return self._digests[model_id]

    def spent(self, digest: str) -> dict[str, int]:
        """How many sentences each owner has asked of the models with a public digest, where that is counted.

        Raises:
            ValueError: the file is damaged.
            OSError: it cannot be read.
        """
        path = self._spent_file(digest)
        return _SPENT_BY_OWNER.validate_json(path.read_bytes()) if path.exists() else {}

    def write_spent(self, digest: str, spent: dict[str, int]) -> None:
        """Keep what `spent` gives; on disk when this returns.

        Raises:
            OSError: the disk does not take it.
        """
        replace_file(
            self._spent_file(digest), _SPENT_BY_OWNER.dump_json(spent, indent=2) + b"\n", PRIVATE, durable=True
        )

    def _spent_file(self, digest: str) -> Path:
        return self._directory / _SPENT / f"{digest}.json"

    def _keep_counting(self, before: Path) -> None:
        """Add a model's own counts to those of all that are alike. What is damaged stays, and is nobody's count."""
        with suppress(ValueError, DecodeError):
            digest = self.public_digest(before.parent.name)
            spent = self.spent(digest)
            for owner, sentences in _SPENT_BY_OWNER.validate_json(before.read_bytes()).items():
                spent[owner] = spent.get(owner, 0) + sentences
            self.write_spent(digest, spent)
            before.unlink()

    def was_used(self, model_id: str) -> bool:
        """Whether a model is in use, or was before."""
        return model_id in self._used()

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
            replace_file(self._directory / "active", "\n".join(used[:most]) + "\n", PRIVATE, durable=True)
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
