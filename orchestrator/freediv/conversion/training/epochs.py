"""What the epochs of a training are made of: single rows, rows strung together, and what a teacher says of both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ...model import Model, Precision, in_precision
from ..measures.predictions import logits_of
from ..run_directory import RunDirectory
from ..texts.batches import join_sequences, padding_lengths, plan_batches, string_together
from .phase import Epoch


@dataclass(frozen=True)
class Mixture:
    """How the sequences of an epoch are drawn and put into batches.

    Attributes:
        pieces: word pieces of an epoch's single rows, about (of images, their rows): other ones each time until all are
            used, and then from the first; None: all.
        long_share: of the tokens, that are in rows strung together, beside these.
        longest: length of these, in word pieces.
        tokens_per_batch: about so many.
        shapes: distinct lengths to pad to; each compiles once.
        noise: share of word pieces that are replaced by others, drawn as often as the data has them.
    """

    pieces: int | None
    long_share: float
    longest: int
    tokens_per_batch: int
    shapes: int
    noise: float = 0.0


@dataclass(frozen=True)
class Rows:
    """What an epoch is made of: `groups` of row numbers, each strung together to one sequence; and the epoch, whose
    sequences may have noise.
    """

    groups: list[np.ndarray]
    epoch: Epoch


def draw_epochs(
    sequences: Sequence[np.ndarray], separator: int | None, count: int, mixture: Mixture, seed: tuple[int, ...]
) -> tuple[Rows, ...]:
    """`count` epochs of single rows, and of long sequences made of them; without targets."""
    order = np.random.default_rng(seed).permutation(len(sequences))
    parts = _parts(np.array([len(sequences[row]) for row in order]), mixture.pieces, count)
    pieces = _inner(sequences, separator) if mixture.noise else np.zeros(0, np.int32)
    found: list[Rows] = []
    pad_to: np.ndarray | None = None
    for number in range(count):
        rng = np.random.default_rng((*seed, number))
        rows = order[parts[number]]
        lengths = [len(sequences[row]) for row in rows]
        long_tokens = sum(lengths) * mixture.long_share / (1 - mixture.long_share)
        long = [rows[group] for group in string_together(lengths, long_tokens, mixture.longest, rng)]
        groups = [*rows[:, None], *long]
        joined = [join_sequences([sequences[row] for row in group], separator) for group in groups]
        if mixture.noise:
            random = np.random.default_rng((*seed, number, 1))
            joined = [_with_noise(sequence, mixture.noise, pieces, separator, random) for sequence in joined]
        lengths = [len(sequence) for sequence in joined]
        if pad_to is None:  # the same shapes in every epoch: each is compiled once
            longest = mixture.longest if long else max(len(sequence) for sequence in sequences)
            pad_to = padding_lengths([*lengths, longest], mixture.shapes)
        plan = plan_batches(lengths, tokens_per_batch=mixture.tokens_per_batch, pad_to=pad_to, rng=rng)
        found.append(Rows(groups, Epoch(joined, None, plan)))
    return tuple(found)


def _parts(lengths: np.ndarray, pieces: int | None, count: int) -> list[np.ndarray]:
    """Places of the rows of each epoch, in an order that has these lengths and begins again at its end: those that
    begin within the epoch's pieces, and one at least.
    """
    ends = np.cumsum(lengths)
    again, rest = np.divmod(np.arange(count + 1) * (pieces or ends[-1]), ends[-1])
    borders = again * len(lengths) + np.searchsorted(ends - lengths, rest)
    return [np.arange(first, max(last, first + 1)) % len(lengths) for first, last in pairwise(borders)]


def _inner(sequences: Sequence[np.ndarray], separator: int | None) -> np.ndarray:
    """All word pieces, as often as they are there, without the first and the last, and what parts two texts."""
    pieces = np.concatenate([sequence[1:-1] for sequence in sequences])
    return pieces[pieces != separator]


def held_out_rows(sequences: Sequence[np.ndarray], first: int, mixture: Mixture) -> Rows:
    """The sequences from number `first` on, as they are, in batches; without targets."""
    own = sequences[first:]
    lengths = [len(sequence) for sequence in own]
    pad_to = padding_lengths(lengths, mixture.shapes)
    plan = plan_batches(lengths, tokens_per_batch=mixture.tokens_per_batch, pad_to=pad_to)
    return Rows([*np.arange(first, len(sequences))[:, None]], Epoch(own, None, plan))


def _with_noise(
    sequence: np.ndarray, share: float, pieces: np.ndarray, separator: int | None, rng: np.random.Generator
) -> np.ndarray:
    """A sequence, some of whose pieces are others; never the first and the last, nor what parts two texts."""
    replaced = (rng.random(len(sequence)) < share) & (sequence != separator)
    replaced[[0, -1]] = False
    return np.where(replaced, rng.choice(pieces, len(sequence)), sequence)


def with_labels(epochs: tuple[Rows, ...], labels: np.ndarray) -> tuple[Epoch, ...]:
    """The epochs, of single rows, with the rows' labels [count] as targets."""
    return tuple(replace(rows.epoch, targets=labels[np.concatenate(rows.groups)]) for rows in epochs)


Read = Callable[[Rows], Sequence[np.ndarray]]
"""The sequences of an epoch as a teacher reads them."""


def with_logits(
    epochs: tuple[Rows, ...],
    teacher: Model,
    read: Read,
    run: RunDirectory,
    precision: Precision,
    task: str = "the teacher's logits",
) -> tuple[Epoch, ...]:
    """The epochs with the teacher's logits as targets; a sequence that several epochs have is read once."""
    numbers: dict[bytes, int] = {}
    distinct: list[np.ndarray] = []
    places: list[int] = []
    for one in (np.ascontiguousarray(one) for rows in epochs for one in read(rows)):
        place = numbers.setdefault(hashlib.sha256(one.tobytes()).digest(), len(distinct))
        if place == len(distinct):
            distinct.append(one)
        places.append(place)
    placed = np.split(np.array(places), np.cumsum([len(rows.groups) for rows in epochs])[:-1])
    known = run.load("teacher-logits", {"logits": np.zeros(0)})
    if known is None:
        with in_precision(precision):
            known = {"logits": logits_of(teacher, distinct, task)}, {}
        run.save("teacher-logits", *known)
    return tuple(replace(rows.epoch, targets=known[0]["logits"][own]) for rows, own in zip(epochs, placed, strict=True))
