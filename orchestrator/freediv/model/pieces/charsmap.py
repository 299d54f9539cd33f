"""How long a text may become: by Unicode's own decompositions, and by SentencePiece's tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

import numpy as np

_MOST_KEY_BYTES = 64
_FOLLOWING = np.arange(1, 256)


def _forms(character: str) -> Iterable[str]:
    folded = character.casefold()
    return character, folded, *(unicodedata.normalize("NFKD", form) for form in (character, folded))


@lru_cache(maxsize=1 << 16)
def most_characters(character: str) -> int:
    """How many characters one may become."""
    return max(map(len, _forms(character)))


@lru_cache(maxsize=1 << 16)
def most_bytes(character: str) -> int:
    """How many bytes of UTF-8."""
    return max(len(form.encode("utf-8", "surrogatepass")) for form in _forms(character))


def replacements_of(charsmap: bytes) -> Iterator[tuple[bytes, str]]:
    """What SentencePiece's table replaces by what: a double array of four-byte units (Aoe 1989, as Darts has it), and
    all replacements, each with a zero behind it.

    Raises:
        ValueError: it is no such table.
    """
    size = int.from_bytes(charsmap[:4], "little")
    replacements = charsmap[4 + size :]
    if not size or size % 1024 or len(charsmap) < 4 + size or not replacements.endswith(b"\0"):
        raise ValueError("is no table of SentencePiece's")
    replacements.decode()
    units = np.frombuffer(charsmap[4 : 4 + size], "<u4").astype(np.int64)
    labels, offsets = units & (1 << 31 | 0xFF), (units >> 10) << ((units & 1 << 9) >> 6)
    level: Mapping[int, bytes] = {int(offsets[0]): b""}
    seen = 0
    for _ in range(_MOST_KEY_BYTES):
        if not level:
            return
        seen += len(level)
        if seen > len(units) or max(level) | 0xFF >= len(units):
            break
        below: dict[int, bytes] = {}
        for base, key in level.items():
            children = base ^ _FOLLOWING
            for child in children[labels[children] == _FOLLOWING].tolist():
                own, found = key + bytes([base ^ child]), child ^ int(offsets[child])
                below[found] = own
                if units[child] >> 8 & 1:
                    start = int(units[found]) & ((1 << 31) - 1) if found < len(units) else len(replacements)
                    if start >= len(replacements):
                        raise ValueError("is no table of SentencePiece's")
                    yield own, replacements[start : replacements.index(b"\0", start)].decode()
        level = below
    raise ValueError("is no table of SentencePiece's")
