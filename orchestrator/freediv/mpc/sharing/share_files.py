"""A party's weight shares on its own disk, so that a restarted party needs no second upload.

A directory holds one file per parameter, and `manifest.json`, written last: it is there only when all shares are. Files
are 0600 in a 0700 directory, appear under their name only when complete, and end in a SHA-256 of what they hold.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import UserError
from ...files import PRIVATE, NewFile, make_directory
from ...model import Architecture, parameter_shapes
from ...model.answers import Output
from .settings import ProtocolSettings
from .shares import Share

_MAGIC = b"freediv share 1\n"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Manifest(BaseModel):
    """What a directory of shares belongs to. Nothing in it is secret.

    With `fresh_budget` its owner wants data owners' budgets to begin anew when it is first used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_id: str
    architecture: Architecture
    output: Output
    bundle_sha256: str
    rank: int
    protocol: str
    field: str
    fraction_bits: int
    parties: int = 3
    fresh_budget: bool = False


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    name: str
    meta: str
    sizes: tuple[int, ...]


def begin(directory: Path) -> None:
    """Make an empty directory, or empty the one there is: what follows is another model's, or another upload's.

    Raises:
        UserError: the disk may not be written to.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        (directory / "manifest.json").unlink(missing_ok=True)
        for path in [*directory.glob("*.share"), *directory.glob(".*.share.*")]:
            path.unlink()
    except OSError as error:
        raise UserError(f"{directory}: cannot be written to ({error.strerror})") from None


def write_share(directory: Path, stage: str, name: str, share: Share) -> None:
    """Put one parameter's share on disk.

    Raises:
        UserError: the disk is full or may not be written to.
        ValueError: a name that is no parameter's.
    """
    head = _Head(stage=stage, name=name, meta=share.meta.hex(), sizes=tuple(map(len, share.chunks)))
    _write(_path(directory, stage, name), (_MAGIC, head.model_dump_json().encode(), b"\n", *share.chunks))


def read_share(directory: Path, stage: str, name: str) -> Share:
    """Read one parameter's share.

    Raises:
        UserError: names a file that is missing, damaged, another's, or readable by others.
    """
    path = _path(directory, stage, name)
    damaged = UserError(f"{path}: damaged: have the model owner load the model again")
    with _open(path) as file:
        start = file.readline(1 << 10) + file.readline(1 << 16)
        try:
            head = _Head.model_validate_json(start.removeprefix(_MAGIC))
        except ValidationError:
            raise damaged from None
        size = path.stat().st_size
        if any(n < 0 for n in head.sizes) or size != len(start) + sum(head.sizes) + 32:
            raise damaged
        digest = hashlib.sha256(start)
        chunks = []
        for n in head.sizes:
            chunks.append(file.read(n))
            digest.update(chunks[-1])
        if file.read(32) != digest.digest():
            raise damaged
    if (head.stage, head.name) != (stage, name):
        raise UserError(f"{path}: holds {head.stage}/{head.name}, not {stage}/{name}: load the model again")
    return Share(bytes.fromhex(head.meta), tuple(chunks))


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Declare the directory complete.

    Raises:
        UserError: as `write_share`.
    """
    _write(directory / "manifest.json", (manifest.model_dump_json(indent=2).encode(), b"\n"), checksum=False)


def read_manifest(directory: Path) -> Manifest:
    """What the directory holds.

    Raises:
        UserError: there is no manifest, or it cannot be read.
    """
    path = directory / "manifest.json"
    with _open(path) as file:
        content = file.read()
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path}: damaged ({error.error_count()} entries do not fit): load the model again") from None


def read_all(
    directory: Path, architecture: Architecture, settings: ProtocolSettings
) -> Iterable[tuple[str, str, Share]]:
    """Every parameter of a model: stage, name and share, checked against the architecture and the protocol.

    Raises:
        UserError: as `read_share`, or a share is of another shape or protocol, or was made with other fraction bits.
    """
    if (directory / "manifest.json").exists():
        made = (manifest := read_manifest(directory)).protocol, manifest.field, manifest.fraction_bits
        if made != (settings.name, settings.field, settings.fraction_bits):
            raise UserError(
                f"{directory}: shares for {made[0]} in {made[1]} with {made[2]} fraction bits, the cluster has "
                f"{settings.name} in {settings.field} with {settings.fraction_bits}: load the model again"
            )
    for stage, shapes in parameter_shapes(architecture, folded=True).items():
        for name, shape in shapes.items():
            share = read_share(directory, stage, name)
            try:
                share.check(shape, settings)
            except ValueError as error:
                raise UserError(f"{_path(directory, stage, name)}: {error}: load the model again") from None
            yield stage, name, share


def stored_bytes(directory: Path) -> int:
    """Bytes of all shares in the directory."""
    return sum(path.stat().st_size for path in directory.glob("*.share"))


def _path(directory: Path, stage: str, name: str) -> Path:
    if not (_NAME.fullmatch(stage) and _NAME.fullmatch(name)):
        raise ValueError("a parameter's name holds a character that no parameter's has")
    return directory / f"{stage}+{name}.share"


def _write(path: Path, pieces: Iterable[bytes], *, checksum: bool = True) -> None:
    """Write pieces, and the digest of all of them where it is asked for, to the disk itself."""
    digest = hashlib.sha256()

    def checked() -> Iterator[bytes]:
        for piece in pieces:
            digest.update(piece)
            yield piece
        if checksum:
            yield digest.digest()

    make_directory(path.parent, 0o700)
    with NewFile(path, PRIVATE, durable=True) as new:
        new.write(checked())


def _open(path: Path) -> BinaryIO:
    try:
        for checked in (path, path.parent):
            if stat.S_IMODE(checked.stat().st_mode) & 0o077:
                right = "0600" if checked is path else "0700"
                raise UserError(f"{checked}: others may read it, which shares forbid: chmod {right} {checked}")
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): load the model again") from None
