"""A training run's directory: what makes it resumable."""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import UserError
from ..files import PRIVATE, NewFile, replace_file
from ..later import jax

Tree = TypeVar("Tree")
SECONDS_BETWEEN_CHECKPOINTS = 60.0
SHARE_OF_CHECKPOINTS = 0.02
"""Of the time, at most: where writing one takes long, they are further apart."""


class RunDirectory:
    """Checkpoints of one run, by name. Every file is written to a temporary name and renamed: it is whole or absent.

    `identity` is what determines the run's result (data digests, recipe, seed): a directory that holds a run of another
    identity is refused, and so is one that another process is training in.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; name a directory for the run's checkpoints")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / "lock").open("w", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise UserError(f"{self.path}: another process is training here; wait for it or use another") from error
        record = self.path / "run.json"
        wanted = json.loads(json.dumps(identity))
        if record.exists():
            try:
                found = dict(json.loads(record.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError, RecursionError):
                self.close()
                raise UserError(f"{record}: damaged; remove {self.path} to start again") from None
            different = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
            if different:
                self.close()
                raise UserError(
                    f"{self.path} holds a run that differs in {', '.join(different)}; "
                    "use another directory, or remove it to start again"
                )
        else:
            replace_file(record, json.dumps(wanted, indent=1), durable=True)

    def close(self) -> None:
        """Let another process use the directory."""
        self._lock.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def save(self, name: str, tree: Any, record: Mapping[str, Any]) -> None:
        """Write a tree of arrays, and a JSON-serialisable record beside them."""
        arrays = {key: np.array(leaf, order="C") for key, leaf in _named_leaves(tree)}
        metadata = {"record": json.dumps(record)}
        with NewFile(self._file(name), PRIVATE, durable=True) as new:
            save_file(arrays, new.name, metadata)
            new.commit()

    def load(self, name: str, template: Tree) -> tuple[Tree, dict[str, Any]] | None:
        """What `save` wrote, in the structure of `template`; None if there is nothing of this name."""
        file = self._file(name)
        if not file.exists():
            return None
        try:
            with safe_open(str(file), "numpy") as stored:
                record = json.loads(stored.metadata()["record"])
                leaves = [stored.get_tensor(key) for key, _ in _named_leaves(template)]
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"{file} cannot be read ({error}); remove {self.path} to start again") from error
        return jax.tree.unflatten(jax.tree.structure(template), leaves), record

    def remove(self, name: str) -> None:
        """Forget a checkpoint."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"


class Pace:
    """When the next checkpoint is due."""

    def __init__(self) -> None:
        self._saved, self._pause = time.monotonic(), SECONDS_BETWEEN_CHECKPOINTS

    @property
    def due(self) -> bool:
        return time.monotonic() - self._saved > self._pause

    @contextmanager
    def saving(self) -> Iterator[None]:
        """One is written meanwhile."""
        begun = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._pause = max(SECONDS_BETWEEN_CHECKPOINTS, (self._saved - begun) / SHARE_OF_CHECKPOINTS)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
