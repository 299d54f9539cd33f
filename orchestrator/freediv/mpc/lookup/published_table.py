"""A published word table, in the file that a party keeps it in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ...errors import UserError
from ...files import PRIVATE, replace_file
from ...model import Architecture

PUBLISHED = "word_table"
"""Where a published table lies, beside a party's shares of the rest: safetensors with `word`, and a SHA-256 of that."""
_DIGEST_BYTES = 32
_LARGEST = 2.0**20


def put_published(table: np.ndarray | bytes, directory: Path) -> None:
    """Put a published table, or what a file of it holds, beside a party's shares.

    Raises:
        OSError: the disk does not take it.
    """
    content = table if isinstance(table, bytes) else save({"word": np.ascontiguousarray(table, np.float32)})
    replace_file(directory / PUBLISHED, content + hashlib.sha256(content).digest(), PRIVATE, durable=True)


def read_published(architecture: Architecture, directory: Path) -> np.ndarray:
    """The table that lies in a directory, [vocabulary, embedding size].

    Raises:
        UserError: it is not there, damaged, or none that fits.
    """
    path = directory / PUBLISHED
    try:
        found = path.read_bytes()
        content, digest = found[:-_DIGEST_BYTES], found[-_DIGEST_BYTES:]
        table = load(content)["word"] if hashlib.sha256(content).digest() == digest else None
    except (OSError, KeyError, SafetensorError):
        table = None
    if table is None:
        raise UserError(f"{path}: no word table can be read: have the model owner load the model again")
    fits = table.shape == (architecture.vocabulary, architecture.embedding_size)
    fits = fits and table.dtype in (np.float16, np.float32)
    if not fits or not np.all(np.abs(table) < _LARGEST):  # also false for NaN
        raise UserError(f"{path}: is not the model's word table: have the model owner load the model again")
    return table
