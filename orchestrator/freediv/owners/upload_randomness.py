"""The randomness that a model is shared with, kept by its owner until all parties have their shares.

FOLDER/uploads/DIGEST.json      (0600) of an upload that is not over: the model's id, and a key that all seeds come from

An upload that was cut goes on under the same id, with the same seeds. Two arrays shared with the same seeds would show
their difference to a party. So a key is for one digest only, over all weights and all that sharing depends on, and the
digest is part of what makes the seeds.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field, ValidationError

from ..cluster.configuration import MOST_UNFINISHED_S, Agreement
from ..errors import UserError
from ..files import PRIVATE, replace_file
from ..mpc.sharing.shares import SEED_BYTES
from ..yaml_file import Strict

_FOLDER = "uploads"
_KEY_BYTES = 32


class _Kept(Strict):
    model_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    key: str = Field(pattern=rf"^[0-9a-f]{{{2 * _KEY_BYTES}}}$")


@dataclass(frozen=True)
class Sharing:
    """One sharing of one model. Whoever has its key and one party's shares has the weights.

    `path` is where it is kept; None where it could not be.
    """

    model_id: str
    digest: bytes
    key: bytes
    path: Path | None

    def __repr__(self) -> str:
        return f"Sharing({self.model_id})"

    def seeds(self, stage: str, name: str, count: int) -> list[bytes]:
        """So many seeds for one parameter (RFC 5869: HKDF)."""
        about = f"freediv seeds of {stage}/{name}".encode()
        stream = HKDF(hashes.SHA256(), SEED_BYTES * count, salt=self.digest, info=about).derive(self.key)
        return [stream[start : start + SEED_BYTES] for start in range(0, len(stream), SEED_BYTES)]

    def finish(self) -> None:
        """All parties have their shares: forget the key."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def begin_sharing(folder: Path, digest: bytes) -> Sharing:
    """The sharing of an upload of what has this digest that is not over; a new one, where there is none.

    Raises:
        UserError: it is kept in a file that is damaged, or that others may read.
    """
    directory = folder / _FOLDER
    path = directory / f"{digest.hex()}.json"
    new = _Kept(model_id=secrets.token_hex(16), key=secrets.token_hex(_KEY_BYTES))
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        _forget(directory)
        kept = _read(path) or _write(path, new)
    except OSError:  # such as a folder that may only be read
        return Sharing(new.model_id, digest, bytes.fromhex(new.key), None)
    return Sharing(kept.model_id, digest, bytes.fromhex(kept.key), path)


def sharing_digest(
    agreement: Agreement,
    bundle: bytes,
    parameters: Mapping[str, Mapping[str, np.ndarray]],
    *,
    fresh_budget: bool = False,
) -> bytes:
    """The SHA-256 of all that an upload is: settings, public bundle, parameters, and whether budgets begin anew."""
    fresh = " fresh budget" if fresh_budget else ""
    digest = hashlib.sha256(f"freediv {version('freediv')} {agreement.digest()} {len(bundle)}{fresh}\n".encode())
    digest.update(bundle)
    for stage, own in parameters.items():
        for name, value in own.items():
            digest.update(f"{stage}/{name} {value.dtype.str} {list(value.shape)}\n".encode())
            digest.update(np.ascontiguousarray(value).data)
    return digest.digest()


def _forget(directory: Path) -> None:
    """Forget sharings that no party has shares of any more."""
    for path in directory.glob("*.json"):
        if time.time() - path.stat().st_mtime > MOST_UNFINISHED_S:
            path.unlink()


def _read(path: Path) -> _Kept | None:
    if not path.exists():
        return None
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path}: other users can read this, and with it the weights; remove it, and load again")
    try:
        return _Kept.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path}: damaged; remove it, and load again") from None


def _write(path: Path, kept: _Kept) -> _Kept:
    """Keep it, on the disk itself, before any share is made with it."""
    replace_file(path, kept.model_dump_json(), PRIVATE, durable=True)
    return kept
