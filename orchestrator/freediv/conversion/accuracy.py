"""Accuracy with its uncertainty, overall and by length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

LENGTH_BUCKETS = (16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Accuracy:
    """`correct` out of `count`, with the 95 % Wilson score interval [low, high] of the accuracy."""

    correct: int
    count: int
    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of a model on a data set, and by length: `by_length` maps a bucket's longest length to its accuracy.

    `without_answer` counts texts of which nothing was said, which is not right.
    """

    overall: Accuracy
    by_length: dict[int, Accuracy]
    without_answer: int = 0

    def to_dict(self) -> dict[str, object]:
        """For `--json` and the model card: the fields, and `interval`."""
        return {
            "accuracy": self.overall.accuracy,
            "interval": [self.overall.low, self.overall.high],
            "correct": self.overall.correct,
            "count": self.overall.count,
            "by_length": {str(length): asdict(accuracy) for length, accuracy in self.by_length.items()},
            "without_answer": self.without_answer,
        }


def accuracy_of(correct: int, count: int) -> Accuracy:
    """Accuracy and its Wilson score interval (Wilson 1927, equation for z = 1.96, without continuity correction)."""
    z = 1.959963984540054
    share = correct / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Accuracy(correct, count, share, max(0.0, centre - half), min(1.0, centre + half))


NO_ANSWER = -1
"""In place of a label: a value was beyond its limit, or no number at all."""


def labels_of(logits: np.ndarray) -> np.ndarray:
    """The label of the largest of each row's logits [count, labels], or `NO_ANSWER` where they are not numbers."""
    return np.where(np.isfinite(logits).all(axis=-1), np.asarray(logits).argmax(axis=-1), NO_ANSWER)


def evaluate_predictions(predictions: np.ndarray, labels: np.ndarray, lengths: Sequence[int]) -> Evaluation:
    """Compare predictions [count] with labels [count]; `lengths` [count] are word pieces with the special tokens.
    No answer is not right.
    """
    right = np.asarray(predictions) == np.asarray(labels)
    bucket = np.asarray(LENGTH_BUCKETS)[np.searchsorted(LENGTH_BUCKETS, np.minimum(lengths, LENGTH_BUCKETS[-1]))]
    by_length = {
        int(length): accuracy_of(int(right[bucket == length].sum()), int((bucket == length).sum()))
        for length in np.unique(bucket)
    }
    without_answer = int(np.sum(np.asarray(predictions) == NO_ANSWER))
    return Evaluation(accuracy_of(int(right.sum()), len(right)), by_length, without_answer)
