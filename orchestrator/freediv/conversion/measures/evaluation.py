"""How good answers are, with the uncertainty of that, overall and by length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...model import Architecture
from ...model.answers import answer_of
from ...model.answers.measures import Measure

LENGTH_BUCKETS = (16, 32, 64, 128, 256, 512)
ACCURACY = "accuracy"
_DRAWS = 500


@dataclass(frozen=True)
class Estimate:
    """What a `measure` says of answers to `count` texts, with its 95 % interval [low, high].

    Of a share `correct` are right, and the interval is Wilson's; of other measures it is that of texts drawn anew.
    """

    measure: str
    value: float
    low: float
    high: float
    count: int
    correct: int | None = None

    def __str__(self) -> str:
        if self.correct is None:
            return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    @property
    def counts(self) -> str:
        """For people: of how many."""
        return f"{self.count} texts" if self.correct is None else f"{self.correct} of {self.count}"

    def to_dict(self) -> dict[str, object]:
        """For `--json` and the model card."""
        counts: dict[str, object] = {"count": self.count} if self.correct is None else self.of_all()
        return {**counts, self.measure: self.value, "low": self.low, "high": self.high}

    def of_all(self) -> dict[str, object]:
        """As short as cards have it, for programs."""
        if self.correct is None:
            return {self.measure: self.value, "count": self.count}
        return {"correct": self.correct, "count": self.count}


@dataclass(frozen=True)
class Evaluation:
    """Answers of a model to a data set, by the first measure of their kind, and by length: `by_length` maps a bucket's
    longest length to that.

    `others` are the kind's other measures. `without_answer` counts texts of which nothing was said.
    """

    overall: Estimate
    by_length: dict[int, Estimate]
    without_answer: int = 0
    others: tuple[Estimate, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """For `--json` and the model card."""
        overall = self.overall
        return {
            overall.measure: overall.value,
            "interval": [overall.low, overall.high],
            **overall.of_all(),
            **{one.measure: one.value for one in self.others},
            "by_length": {str(length): one.to_dict() for length, one in self.by_length.items()},
            "without_answer": self.without_answer,
        }


def accuracy_of(correct: int, count: int, measure: str = ACCURACY) -> Estimate:
    """A share and its Wilson score interval (Wilson 1927, equation for z = 1.96, without continuity correction)."""
    z = 1.959963984540054
    share = correct / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Estimate(measure, share, max(0.0, centre - half), min(1.0, centre + half), count, correct)


def estimate_of(entry: Mapping[str, object], measure: str = ACCURACY) -> Estimate:
    """What `of_all` wrote of a measure.

    Raises:
        KeyError, TypeError, ValueError: it wrote no such thing.
    """
    count = int(str(entry["count"]))
    if "correct" in entry:
        return accuracy_of(int(str(entry["correct"])), count, measure)
    value = float(str(entry[measure]))
    low, high = (float(str(entry[key])) if key in entry else value for key in ("low", "high"))
    return Estimate(measure, value, low, high, count)


def evaluate_answers(
    architecture: Architecture, found: np.ndarray, wanted: np.ndarray, lengths: Sequence[int]
) -> Evaluation:
    """Compare what was `found` with what is `wanted`, both as the model's kind of answer has them [count, ...].

    `lengths` [count] are word pieces with the special tokens.
    """
    answer = answer_of(architecture)
    first, *others = answer.measures(architecture)
    without_answer = int(np.sum(~answer.answered(found)))
    return Evaluation(
        estimate(first, found, wanted),
        by_length(first, found, wanted, lengths),
        without_answer,
        tuple(estimate(one, found, wanted) for one in others),
    )


def by_length(measure: Measure, found: np.ndarray, wanted: np.ndarray, lengths: Sequence[int]) -> dict[int, Estimate]:
    """A measure of the texts of each bucket of lengths that there is."""
    bucket = np.asarray(LENGTH_BUCKETS)[np.searchsorted(LENGTH_BUCKETS, np.minimum(lengths, LENGTH_BUCKETS[-1]))]
    parts = measure.parts(found, wanted)
    return {int(length): _estimate(measure, parts[bucket == length]) for length in np.unique(bucket)}


def estimate(measure: Measure, found: np.ndarray, wanted: np.ndarray) -> Estimate:
    """A measure of all texts."""
    return _estimate(measure, measure.parts(found, wanted))


def _estimate(measure: Measure, parts: np.ndarray) -> Estimate:
    if measure.share:
        return accuracy_of(int(parts.sum()), len(parts), measure.name)
    random = np.random.default_rng(0)
    draws = [measure.value(parts[random.integers(len(parts), size=len(parts))]) for _ in range(_DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(measure.name, measure.value(parts), float(low), float(high), len(parts))
