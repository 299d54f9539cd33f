"""The word table that a party looks up in: two words of a secret one, or a published one as it is."""

from __future__ import annotations

from pathlib import Path

from ...model import Architecture, published_rows
from ..replicated.words import encode
from ..sharing.shares import Share
from .lookup import Lookup
from .published_table import read_published


def of_secret(architecture: Architecture, share: Share, rank: int, fraction_bits: int, threads: int) -> Lookup:
    """Lookups in a table of which a party has a share."""
    held = dict(zip((rank, (rank + 1) % 3), share.words(), strict=True))
    return Lookup(held, architecture.embedding_size, fraction_bits, threads)


def of_published(architecture: Architecture, directory: Path, rank: int, fraction_bits: int, threads: int) -> Lookup:
    """Lookups in the table that lies in a directory.

    Raises:
        UserError: it is not there, damaged, or none that fits.
    """
    table = published_rows(architecture, read_published(architecture, directory))
    held = {0: encode(table, fraction_bits)} if rank != 1 else {}  # pair 0 alone
    return Lookup(held, architecture.embedding_size, fraction_bits, threads)
