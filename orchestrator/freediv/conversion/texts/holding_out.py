"""Rows kept out of a training, such that nothing trained on gives them away."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...model import Given
from ..run_directory import file_digest
from .examples import Examples

_BORDER = "\n"  # between the two texts of a pair: no word
_ODD = 0x9E3779B97F4A7C15  # has an inverse modulo 2^64
_INVERSE = pow(_ODD, -1, 2**64)


def hold_out(examples: Examples, fraction: float) -> tuple[Examples, Examples]:
    """A random split: (the rest, about `fraction` of the examples), in the file's order.

    The same for the same rows, whatever seed a training has, so that a student is measured on rows that its teacher has
    not seen either. A smaller fraction is part of a larger one.

    A row that is part of another one, word for word, goes where that one goes: in SST-2 most rows are phrases of other
    rows, and a sentence whose phrases were trained on says little about sentences to come.
    """
    wanted = round(fraction * len(examples))
    group = containing_rows(examples)
    number, size = np.unique(group, return_counts=True)
    order = np.random.default_rng(0).permutation(len(number))
    enough = int(np.searchsorted(np.cumsum(size[order]), wanted)) + 1 if wanted else 0
    out = np.isin(group, number[order[:enough]])
    return examples.take(np.flatnonzero(~out)), examples.take(np.flatnonzero(out))


def whole_rows(examples: Examples) -> Examples:
    """Those that are part of no other, in the file's order."""
    return examples.take(np.unique(containing_rows(examples)))


def containing_rows(examples: Examples) -> np.ndarray:
    """Of each row the number of a row that it is a part of, and that is part of no other [count].

    Rows that are equal but for case and spaces are parts of the first of them. Spans of words are compared by hashes of
    64 bits (Karp and Rabin 1987).
    """
    words = [_words(text) for text in examples.texts]
    lengths = np.array([len(own) for own in words])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    row_of_word = np.repeat(np.arange(len(words)), lengths)
    _, number = np.unique([word for own in words for word in own], return_inverse=True)
    value = np.random.default_rng(0).integers(2**64, size=number.max() + 1, dtype=np.uint64)[number]
    power = _powers(_ODD, len(value))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(value * power, dtype=np.uint64)])
    inverse = _powers(_INVERSE, len(value))
    row_ends, row_lengths = starts[row_of_word + 1], lengths[row_of_word]
    found = np.arange(len(words))
    for length in np.unique(lengths):
        within = starts[:-1][lengths == length]
        first = np.flatnonzero(np.arange(len(value)) + length <= row_ends)
        hashes = (sums[first + length] - sums[first]) * inverse[first]
        # The longest row that has such a span, or of equal ones the first.
        preferred = np.lexsort((row_of_word[first], -row_lengths[first]))
        known, at = np.unique(hashes[preferred], return_index=True)
        own = (sums[within + length] - sums[within]) * inverse[within]
        found[row_of_word[within]] = row_of_word[first[preferred[at[np.searchsorted(known, own)]]]]
    return found


def _words(text: Given) -> list[str]:
    if isinstance(text, Path):  # the same image twice is one row that is part of another
        return [file_digest(text)]
    if isinstance(text, str):
        return text.lower().split()
    assert not isinstance(text, bytes)  # rows name files
    first, second = text
    return [*first.lower().split(), _BORDER, *second.lower().split()]


def _powers(base: int, count: int) -> np.ndarray:
    """1, base, base^2, ... modulo 2^64 [count]."""
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count - 1, base, np.uint64)]), dtype=np.uint64)
