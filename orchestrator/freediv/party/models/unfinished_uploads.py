"""Uploads that are not complete: the one under way, and those that were cut, kept for their owners to go on with.

store/incoming-MODEL_ID/        the shares that have come, each complete, and the public bundle
store/incoming-MODEL_ID/owner   whose upload it is: the SHA-256 of the public key that its owner's certificate is for

An upload's age is the time since it last got on, so it also passes while the party is stopped.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...cluster.configuration import Limits
from ...errors import UserError
from ...files import PRIVATE, replace_file
from ...wire.share_transfer import StreamEnded
from .model_store import BUNDLE, check_model_id

log = logging.getLogger(__name__)
_INCOMING = "incoming-"
_OWNER = "owner"
_LOOK_S = 60.0
"""How often it is looked for uploads whose time is over."""


class UnfinishedUploads:
    """What lies in a store beside its complete models. Opening it removes what can never become one.

    Raises:
        UserError: the store may not be written to.
    """

    def __init__(self, store: Path, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._under_way: Path | None = None
        try:
            for path in store.glob(f"{_INCOMING}*"):
                for torn in path.glob(".*"):
                    torn.unlink()
                if not (path / _OWNER).is_file():
                    shutil.rmtree(path)
        except OSError as error:
            raise UserError(f"{store}: unfinished uploads cannot be removed ({error.strerror})") from None
        self.forget()

    def find(self, model_id: str, owner: str) -> Path | None:
        """Where an upload of this owner's lies; None if there is none.

        Raises:
            ValueError: the id is not one, or somebody else's upload has it.
        """
        path = self._path(model_id)
        if not path.is_dir():
            return None
        if (path / _OWNER).read_text(encoding="utf-8") != owner:
            raise ValueError("another owner's upload has this id")
        return path

    @contextmanager
    def under_way(self, model_id: str) -> Iterator[None]:
        """While an upload comes in. Where it is cut it is kept; where something is wrong with it, it is deleted."""
        path = self._under_way = self._path(model_id)
        try:
            yield
        except StreamEnded:
            raise
        except (ValueError, UserError):
            self._delete(path)
            raise
        finally:
            self._under_way = None
            self.forget()

    def begin(self, model_id: str, owner: str, bundle: bytes) -> Path:
        """A directory for a new upload.

        Raises:
            UserError: the disk is full, or may not be written to.
        """
        path = self._path(model_id)
        try:
            self._delete(path)
            path.mkdir(mode=0o700)
            replace_file(path / _OWNER, owner, PRIVATE, durable=True)
            replace_file(path / BUNDLE, bundle, PRIVATE, durable=True)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None
        return path

    def finish(self, model_id: str, model: Path) -> None:
        """An upload is complete: from now on it is the model in this directory."""
        path = self._path(model_id)
        (path / _OWNER).unlink()
        path.rename(model)

    def room(self, needed: int) -> int:
        """Bytes that the disk has left, after as many others were deleted, oldest first, as `needed` bytes take."""
        others = [path for path in reversed(self._newest_first()) if path != self._under_way]
        while (free := shutil.disk_usage(self._store).free) < needed and others:
            self._delete(others.pop(0))
        return free

    def forget(self) -> None:
        """Delete those whose time is over, and the oldest that are more than may be kept."""
        limits, now, kept, nbytes = self._limits, time.time(), 0, 0
        for path in self._newest_first():
            if path == self._under_way:
                continue
            kept, nbytes = kept + 1, nbytes + _nbytes(path)
            over = now - path.stat().st_mtime > limits.unfinished_s
            if over or kept > limits.unfinished_uploads or nbytes > limits.unfinished_bytes:
                log.info("an upload that was cut is kept no longer: %s", path.name)
                self._delete(path)

    async def keep_forgetting(self) -> None:
        """Call `forget` as time goes by; until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(OSError):  # one that an upload has just removed
                self.forget()

    def _newest_first(self) -> list[Path]:
        return sorted(self._store.glob(f"{_INCOMING}*"), key=lambda path: path.stat().st_mtime, reverse=True)

    def _path(self, model_id: str) -> Path:
        return self._store / f"{_INCOMING}{check_model_id(model_id)}"

    def _delete(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _nbytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())
