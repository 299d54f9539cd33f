"""How good answers are, in the terms of their kind.

A measure takes a text apart into numbers (`parts`, one row a text) and makes one number of those of any texts, so that
an interval can be had by drawing texts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Found = np.ndarray
"""Answers to texts, as their kind has them."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of answers that were found, beside those that were wanted.

    Attributes:
        name: in tables and cards.
        parts: of (found, wanted), both [count, ...], numbers [count, ...] of each text.
        value: of the parts of several texts; the higher the better.
        share: whether it is a share of texts (in percent, with right and wrong ones).
    """

    name: str
    parts: Callable[[Found, Found], np.ndarray]
    value: Callable[[np.ndarray], float]
    share: bool = False


def share(name: str, right: Callable[[Found, Found], np.ndarray]) -> Measure:
    """The share of texts whose answers are `right`."""
    return Measure(name=name, parts=lambda found, wanted: right(found, wanted).astype(float), value=mean, share=True)


def mean(parts: np.ndarray) -> float:
    """Over texts that have a number; 0 without any."""
    known = parts[np.isfinite(parts)]
    return float(known.mean()) if len(known) else 0.0


def beside(found: Found, wanted: Found) -> np.ndarray:
    """Both numbers of a text, [count, 2]."""
    return np.stack([np.asarray(found, float), np.asarray(wanted, float)], axis=-1)


def pearson(parts: np.ndarray) -> float:
    """Pearson's correlation of two columns, over rows without a gap; 0 where one of them does not vary."""
    known = parts[np.isfinite(parts).all(axis=-1)]
    if len(known) < 2:
        return 0.0
    x, y = (known - known.mean(axis=0)).T
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 0 else 0.0


def spearman(parts: np.ndarray) -> float:
    """Spearman's correlation: Pearson's of ranks, those of equal numbers being their mean."""
    known = parts[np.isfinite(parts).all(axis=-1)]
    return pearson(np.stack([_ranks(column) for column in known.T], axis=-1)) if len(known) else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def counted(found: Found, wanted: Found) -> np.ndarray:
    """Of each text and label, bits [count, labels]: [count, 3, labels], whether it is rightly, wrongly, not found."""
    found, wanted = np.asarray(found) > 0, np.asarray(wanted) > 0
    return np.stack([found & wanted, found & ~wanted, ~found & wanted], axis=1).astype(float)


def micro_f1(parts: np.ndarray) -> float:
    """F1 of all labels together, of `counted`; 1 where nothing is wanted and nothing found."""
    return float(_f1(parts.sum(axis=(0, 2))))


def macro_f1(parts: np.ndarray) -> float:
    """The mean of the F1 of each label, of `counted`, over labels that are wanted or found somewhere."""
    sums = parts.sum(axis=0)
    there = sums.sum(axis=0) > 0
    return float(_f1(sums[:, there]).mean()) if there.any() else 1.0


def _f1(counts: np.ndarray) -> np.ndarray:
    """Of numbers of right, wrong and missing ones [3, ...]."""
    right, wrong, missing = counts
    return np.where(counts.sum(axis=0) > 0, 2 * right / np.maximum(2 * right + wrong + missing, 1), 1.0)


def cosines(found: Found, wanted: Found) -> np.ndarray:
    """Of each text's two vectors."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
    return np.asarray(np.sum(found * wanted, axis=-1) / np.maximum(lengths, 1e-12))


def nearest(found: Found, wanted: Found) -> np.ndarray:
    """Whether the text that is nearest to each, by the cosine of vectors, is the same among those found and wanted."""

    def neighbours(vectors: np.ndarray) -> np.ndarray:
        directions = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        likeness = directions @ directions.T
        np.fill_diagonal(likeness, -np.inf)
        return np.asarray(likeness.argmax(axis=-1))

    known = np.isfinite(found).all(axis=-1) & np.isfinite(wanted).all(axis=-1)
    same = np.full(len(known), np.nan)
    if known.sum() > 1:
        same[known] = neighbours(found[known]) == neighbours(wanted[known])
    return same


Entity = tuple[str, int, int]
"""A label, and the first and the last of its words."""

OUTSIDE = "O"
"""The label of what is in no entity."""
_BEGIN, _WITHIN = ("B", "S", "U"), ("I", "E", "L", "M")
"""First letters of labels in the usual schemes (IOB, BIOES, BILOU, BMES), before a hyphen: of an entity's first word,
and of those after it."""


def entities(labels: Sequence[str], texts: Sequence[int] | None = None) -> Iterator[Entity]:
    """Words next to each other, of one text each, that have one label, but `OUTSIDE`.

    Labels without a scheme, and those within an entity, go on with one of their kind, or begin one (as IOB1 has it, and
    as transformers joins them).
    """
    last: tuple[Entity, int] | None = None
    for word, label in enumerate(labels):
        text = 0 if texts is None else texts[word]
        letter, _, kind = label.partition("-")
        begins = bool(kind) and letter in _BEGIN
        if not kind or letter not in (*_BEGIN, *_WITHIN):
            kind = label
        if last is not None and (begins or (kind, text) != (last[0][0], last[1])):
            yield last[0]
            last = None
        if kind != OUTSIDE:
            last = (kind, word if last is None else last[0][1], word), text
    if last is not None:
        yield last[0]
