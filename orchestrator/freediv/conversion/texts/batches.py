"""Batches of few distinct shapes, in an order that a seed and an epoch determine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DEFAULT_SHAPES = 4


@dataclass(frozen=True)
class Batch:
    """Sequences padded to one length.

    `read` [batch, length] int32, ids of word pieces, or [batch, length, row_size] float32, rows of images; `mask`
    [batch, length] float32, `targets` [batch, ...] (labels, or a teacher's logits; zeros where there are none),
    `weight` [batch] float32: 0 in rows that only fill the batch up to its shape (copies of the first row), 1 elsewhere.
    """

    read: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    weight: np.ndarray

    @property
    def length(self) -> int:
        """What its sequences are padded to."""
        return int(self.read.shape[1])

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """As a model takes them, by name."""
        return {"token_ids" if self.read.ndim == 2 else "rows": self.read, "mask": self.mask}

    def filled(self, more: int) -> Batch:
        """The same with so many rows more that only fill it."""
        rows = np.concatenate([np.arange(len(self.weight)), np.zeros(more, np.int64)])
        weight = np.concatenate([self.weight, np.zeros(more, np.float32)])
        return Batch(self.read[rows], self.mask[rows], self.targets[rows], weight)

    @property
    def tokens(self) -> int:
        """Real tokens, without padding and without filling."""
        return int((self.mask.sum(axis=1) * self.weight).sum())


@dataclass(frozen=True)
class BatchPlan:
    """Which rows make up each batch: pairs of (length to pad to, row numbers)."""

    batches: tuple[tuple[int, np.ndarray], ...]
    tokens_per_batch: int

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, index: int, sequences: Sequence[np.ndarray], targets: np.ndarray | None, pad_token: int) -> Batch:
        """Gather batch `index` from token sequences and their targets [count, ...]."""
        length, rows = self.batches[index]
        size = rows_in_batch(length, self.tokens_per_batch)
        filled = np.concatenate([rows, np.repeat(rows[:1], size - len(rows))])
        first = sequences[rows[0]]
        images = first.ndim == 2
        read = np.full((size, length, *first.shape[1:]), 0 if images else pad_token, np.float32 if images else np.int32)
        mask = np.zeros((size, length), np.float32)
        for position, row in enumerate(filled):
            sequence = sequences[row]
            read[position, : len(sequence)] = sequence
            mask[position, : len(sequence)] = 1
        chosen = np.zeros(size, np.int32) if targets is None else targets[filled]
        return Batch(read, mask, chosen, (np.arange(size) < len(rows)).astype(np.float32))


def rows_in_batch(length: int, tokens_per_batch: int) -> int:
    """Sequences of `length` that make up about `tokens_per_batch` tokens."""
    return max(1, tokens_per_batch // length)


def padding_lengths(lengths: Sequence[int], count: int) -> np.ndarray:
    """The `count` lengths to pad to that waste least on these `lengths`: ascending, multiples of 4 or the longest.

    Every distinct shape is compiled once, so few are wanted; exact, by dynamic programming over the lengths in use.
    """
    rounded = np.minimum(-(-np.asarray(lengths) // 4) * 4, max(lengths))
    used, number = np.unique(rounded, return_counts=True)
    before = np.concatenate([[0], np.cumsum(number)])
    cost = np.concatenate([[0.0], np.full(len(used), np.inf)])  # of the first i lengths, with as many groups as rounds
    choice: list[np.ndarray] = []
    for _ in range(min(count, len(used))):
        # Group j..i is padded to used[i - 1].
        total = cost[None, :] + np.concatenate([[0], used])[:, None] * (before[:, None] - before[None, :])
        total[np.triu_indices(len(cost))] = np.inf
        total[0, 0] = 0.0
        choice.append(total.argmin(axis=1))
        cost = total.min(axis=1)
    chosen, end = [], len(used)
    for starts in reversed(choice):
        if end:
            chosen.append(int(used[end - 1]))
            end = int(starts[end])
    return np.array(sorted(set(chosen)))


def plan_batches(
    lengths: Sequence[int],
    *,
    tokens_per_batch: int,
    pad_to: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
) -> BatchPlan:
    """Put sequences of like lengths into batches, in random order (without `rng`: as given).

    They are padded to the lengths `pad_to` (ascending; the default is what wastes least); one batch of each length may
    be part-filled.
    """
    rows = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    pad_to = padding_lengths(lengths, DEFAULT_SHAPES) if pad_to is None else pad_to
    padded = pad_to[np.searchsorted(pad_to, np.asarray(lengths)[rows])]
    batches: list[tuple[int, np.ndarray]] = []
    for length in np.unique(padded):
        members = rows[padded == length]
        size = rows_in_batch(int(length), tokens_per_batch)
        batches += [(int(length), members[start : start + size]) for start in range(0, len(members), size)]
    if rng is not None:
        batches = [batches[index] for index in rng.permutation(len(batches))]
    return BatchPlan(tuple(batches), tokens_per_batch)


def string_together(lengths: Sequence[int], tokens: float, longest: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Groups of rows that make long sequences when strung together, about `tokens` tokens in all.

    `lengths` count the two special tokens, which a long sequence has once. The groups' lengths spread evenly between
    the longest of the ordinary sequences (95th percentile) and `longest`, which no group exceeds.
    """
    shortest = min(longest, int(np.percentile(lengths, 95)))
    groups: list[np.ndarray] = []
    total = 0
    while total < tokens:
        target, length, group = int(rng.integers(shortest, longest + 1)), 2, []
        for row in rng.integers(len(lengths), size=longest):
            if length + lengths[row] - 2 <= target:
                group.append(row)
                length += lengths[row] - 2
        total += length
        if group:
            groups.append(np.array(group))
    return groups


def join_sequences(sequences: Sequence[np.ndarray], separator: int | None = None) -> np.ndarray:
    """One sequence out of several: the first one's first token, all that lies within, the last one's last token.

    With the separator of pairs: all their first texts, what parts them, and all their second texts.
    """
    if len(sequences) == 1:
        return sequences[0]
    first, last = sequences[0][:1], sequences[-1][-1:]
    inner = [sequence[1:-1] for sequence in sequences]
    if separator is None:
        return np.concatenate([first, *inner, last])
    parts = [np.split(own, _borders(own, separator)) for own in inner]
    return np.concatenate([first, *(p[0] for p in parts), parts[0][1], *(p[2] for p in parts), last])


def _borders(inner: np.ndarray, separator: int) -> tuple[int, int]:
    """Where the separators between two texts begin, and where they end (some models put two)."""
    found = np.flatnonzero(inner == separator)
    if not len(found):
        return len(inner), len(inner)
    start = end = int(found[0])
    while end < len(inner) and inner[end] == separator:
        end += 1
    return start, end
