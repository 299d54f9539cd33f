"""Points between texts, which are no texts, and what a model says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from ...model import Architecture, Model, Parameters, answer, fold, prepare_inputs
from ...model.answers import LABEL, marked
from ...progress import Meter

STEPS = 6
"""Of a bisection: a student that is smooth makes nothing of two labels nearer to each other than that."""
_TEXTS = 4
"""One query out of so many is a text."""
_BATCH = 32
_LENGTHS = np.array([16, 32, 64, 128, 256, 512])


@dataclass(frozen=True)
class Points:
    """Points between texts of equal length: (1 - t) a + t b, and the model's labels of them.

    Attributes:
        first, second: word pieces of a and b.
        t: [count].
        labels: int [count].
    """

    first: list[np.ndarray]
    second: list[np.ndarray]
    t: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def beside(self, other: Points) -> Points:
        """These, and others after them."""
        t, labels = (np.concatenate(both) for both in ((self.t, other.t), (self.labels, other.labels)))
        return Points(self.first + other.first, self.second + other.second, t, labels)


@partial(jax.jit, static_argnums=0)
def _answer(architecture: Architecture, folded: Parameters, inputs: Mapping[str, jax.Array]) -> jax.Array:
    return marked(*answer(architecture, folded, inputs))


class Asking:
    """The model, asked about points: what its parties would compute of such numbers, in plaintext."""

    def __init__(self, model: Model) -> None:
        self._model, self._folded = model, fold(model.architecture, model.parameters)

    def ask(self, first: list[np.ndarray], second: list[np.ndarray], t: np.ndarray, task: str) -> Points:
        """The labels of points between texts."""
        architecture, labels = self._model.architecture, np.zeros(len(first), np.int64)
        lengths = np.minimum(_LENGTHS, architecture.positions)
        bucket = lengths[np.searchsorted(lengths, [len(one) for one in first])]
        with Meter(task, len(first)) as meter:
            done = 0
            for length in np.unique(bucket):
                for rows in np.array_split(own := np.flatnonzero(bucket == length), -(-len(own) // _BATCH)):
                    filled = np.concatenate([rows, np.repeat(rows[:1], _BATCH - len(rows))])
                    padded = [_pad(texts, filled, length, self._model) for texts in (first, second)]
                    mixed = mix(self._model, padded[0], padded[1], t[filled])
                    logits = np.asarray(_answer(architecture, self._folded, mixed))[: len(rows)]
                    labels[rows] = LABEL.plain(architecture, logits)
                    meter.update(done := done + len(rows))
        return Points(first, second, t, labels)


def mix(
    model: Model, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], t: np.ndarray
) -> dict[str, np.ndarray]:
    """What a data owner shares for points between two texts: what they would for either, mixed; pieces and masks
    [batch, length] of both, t [batch].
    """
    prepared = [prepare_inputs(model.architecture, *own, table=model.public_table) for own in (first, second)]
    found = {}
    for name, values in prepared[0].items():
        share_of_second = t.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
        found[name] = (1 - share_of_second) * values + share_of_second * prepared[1][name]
    return found


def _pad(texts: list[np.ndarray], rows: np.ndarray, length: int, model: Model) -> tuple[np.ndarray, np.ndarray]:
    pieces = np.full((len(rows), length), model.architecture.pad_token, np.int32)
    mask = np.zeros((len(rows), length), np.float32)
    for place, row in enumerate(rows):
        pieces[place, : len(texts[row])] = texts[row]
        mask[place, : len(texts[row])] = 1
    return pieces, mask


def spend(asking: Asking, sequences: Sequence[np.ndarray], queries: int, seed: int) -> Points:
    """So many queries: texts, and points between those of one length whose labels differ."""
    count = max(2, queries // _TEXTS)
    texts = _texts(asking, sequences[:count])
    pairs = _pairs(texts, seed)[: (queries - count) // STEPS]
    found = texts if not pairs else texts.beside(_bisect(asking, texts, pairs))
    rest = sequences[count : count + queries - len(found)]
    return found.beside(_texts(asking, rest)) if rest else found


def _texts(asking: Asking, sequences: Sequence[np.ndarray]) -> Points:
    return asking.ask(list(sequences), list(sequences), np.zeros(len(sequences)), "texts")


def _pairs(texts: Points, seed: int) -> list[tuple[int, int]]:
    """Places of texts of one length and unlike labels, each used once."""
    random = np.random.default_rng(seed)
    found = []
    lengths = np.array([len(one) for one in texts.first])
    for length in np.unique(lengths):
        rows = random.permutation(np.flatnonzero((lengths == length) & LABEL.answered(texts.labels)))
        rows = rows[np.argsort(texts.labels[rows], kind="stable")]
        half = len(rows) // 2
        found += [(a, b) for a, b in zip(rows[:half], rows[::-1], strict=False) if texts.labels[a] != texts.labels[b]]
    return [found[place] for place in random.permutation(len(found))]


def _bisect(asking: Asking, texts: Points, pairs: Sequence[tuple[int, int]]) -> Points:
    """All points at which a label was asked for on the way to where it turns."""
    first, second = ([texts.first[pair[side]] for pair in pairs] for side in (0, 1))
    label = texts.labels[[a for a, _ in pairs]]
    low, high = np.zeros(len(pairs)), np.ones(len(pairs))
    found: Points | None = None
    for step in range(STEPS):
        points = asking.ask(first, second, (low + high) / 2, f"bisect: {step + 1}/{STEPS}")
        same = points.labels == label
        low, high = np.where(same, points.t, low), np.where(same, high, points.t)
        found = points if found is None else found.beside(points)
    assert found is not None
    return found
