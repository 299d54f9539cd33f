"""What a model's answers are to a program: typed, and no more than what the parties reveal.

A number that they do not reveal is None; none is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, overload

import numpy as np

from ..model import Architecture
from ..model.answers import LABEL, LABELS, PIECES, SCORE, VECTOR, Prediction, answer_of
from ..model.answers.pieces import Span
from .costs import CallCost

Wanted = Literal["labels", "score", "vector", "tags"]
"""What a program wants of each text: a method of `Reading`."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One text's answer.

    Attributes:
        index: which of the call's texts it is of.
        answered: whether there is one: where the model could be wrong about a text, it gives none.
        cost: of the call that it came of.
    """

    index: int = 0
    answered: bool = True
    cost: CallCost = field(default=CallCost(), repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Classification(Result):
    """A text's labels.

    Attributes:
        labels: those that it has: one, or of a model that gives any number, any; the best first where scores are known.
        scores: of all labels, the best first: probabilities, which add up to 1 where a text has one label; None where
            they are not revealed.
    """

    labels: tuple[str, ...] = ()
    scores: Mapping[str, float] | None = None

    @property
    def label(self) -> str | None:
        """The first of its labels; None where it has none."""
        return self.labels[0] if self.labels else None

    @property
    def score(self) -> float | None:
        """That label's."""
        return None if self.scores is None or self.label is None else self.scores[self.label]


@dataclass(frozen=True, kw_only=True)
class Score(Result):
    """A text's score, or what is revealed in its place.

    Attributes:
        score: as the model gives it; of a re-ranker, a logit.
        rank: its place among the texts of the call, from 1.
        above: whether the score is above the model's threshold.
    """

    score: float | None = None
    rank: int | None = None
    above: bool | None = None

    @property
    def probability(self) -> float | None:
        """What a logit stands for."""
        return None if self.score is None else float(_sigmoid(np.array(self.score)))

    @property
    def place(self) -> float:
        """Less for a better text; of those without an answer, infinite."""
        if not self.answered:
            return np.inf
        if self.score is not None:
            return -self.score
        return float(self.rank) if self.rank is not None else float(not self.above)


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding(Result):
    """A text's vector, float64 [hidden]; None without an answer."""

    vector: np.ndarray | None = None

    __eq__ = object.__eq__  # numpy compares numbers, not arrays
    __hash__ = object.__hash__


@dataclass(frozen=True, kw_only=True)
class Tags(Result):
    """A text's spans that have a label, in their order."""

    spans: tuple[Span, ...] = ()


R_co = TypeVar("R_co", bound=Result, covariant=True)


class Results(Sequence[R_co]):
    """What came of a call's texts, in their order; re-ranked, the best first.

    Attributes:
        cost: of the call.
    """

    def __init__(self, results: Sequence[R_co], cost: CallCost) -> None:
        self._results = tuple(results)
        self.cost = cost

    @overload
    def __getitem__(self, index: int) -> R_co: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[R_co, ...]: ...
    def __getitem__(self, index: int | slice) -> R_co | tuple[R_co, ...]:
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        return f"Results({list(self._results)!r})"


class Reading:
    """A kind of answer, as it is read; `gives` are the methods that there are.

    Attributes:
        gives: in the order in which a program is told of them.
    """

    gives: ClassVar[tuple[Wanted, ...]] = ()

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture

    def labels(self, prediction: Prediction, *, raw: bool = False) -> Classification:
        """A text's labels; with `raw`, their scores are logits."""
        raise NotImplementedError

    def score(self, prediction: Prediction) -> Score:
        """A text's score."""
        raise NotImplementedError

    def vector(self, prediction: Prediction) -> Embedding:
        """A text's vector."""
        raise NotImplementedError

    def tags(self, prediction: Prediction) -> Tags:
        """A text's spans."""
        raise NotImplementedError

    def read(self, wanted: Wanted, prediction: Prediction) -> Any:
        """What is wanted of a text."""
        return getattr(self, wanted)(prediction)


class _Label(Reading):
    """One label out of several."""

    gives = ("labels",)

    def labels(self, prediction: Prediction, *, raw: bool = False) -> Classification:
        if not prediction.answered or prediction.logits is None:
            return Classification(answered=prediction.answered, labels=prediction.labels)
        logits = np.array(prediction.logits)
        found = logits if raw else self._probabilities(logits)
        best = np.argsort(-found, kind="stable")
        scores = {self.architecture.label_names[i]: float(found[i]) for i in best}
        return Classification(labels=tuple(name for name in scores if name in prediction.labels), scores=scores)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()


class _Labels(_Label):
    """Any number of labels, each with its own probability."""

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        return _sigmoid(logits)


class _Score(Reading):
    """A score, its rank, or whether it is above a threshold."""

    gives = ("score",)

    def score(self, prediction: Prediction) -> Score:
        if not prediction.answered:
            return Score(answered=False)
        told = prediction.entry()
        return Score(
            score=None if prediction.logits is None else prediction.logits[0],
            rank=told.get("rank"),  # type: ignore[arg-type]
            above=told.get("above"),  # type: ignore[arg-type]
        )


class _Pieces(Reading):
    """Spans of word pieces that have a label."""

    gives = ("tags",)

    def tags(self, prediction: Prediction) -> Tags:
        spans: Any = prediction.entry()[PIECES.key] or ()
        return Tags(answered=prediction.answered, spans=tuple(Span(**span) for span in spans))


class _Vector(Reading):
    """A vector."""

    gives = ("vector",)

    def vector(self, prediction: Prediction) -> Embedding:
        return Embedding(
            answered=prediction.answered, vector=np.array(prediction.value) if prediction.answered else None
        )


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))


READINGS: Mapping[str, type[Reading]] = {
    LABEL.name: _Label,
    LABELS.name: _Labels,
    SCORE.name: _Score,
    PIECES.name: _Pieces,
    VECTOR.name: _Vector,
}
"""By the names of kinds of answers."""


def reading_of(architecture: Architecture) -> Reading:
    """How a model's answers are read."""
    return READINGS.get(answer_of(architecture).name, Reading)(architecture)
