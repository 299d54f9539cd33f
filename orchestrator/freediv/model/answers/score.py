"""One score: a number, as rerankers and regressions give it.

Revealed is the logit [batch, 1] itself: it is all that the model answers. Or less, int32 [batch]: of each text how many
others of its request have a higher score (of equal ones the first is before), or whether its score is above the model's
threshold. Where rows have limits, a text with a row beyond its own has a zero for its logit, which has one more column:
1 for all other texts; in an order it has the number of texts, and no place among the others; beside a threshold, 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...later import Array, jnp
from ..limits import within_limits
from ..stage import Shape
from .answer import NO_ANSWER, Answer, Output, Prediction, Words
from .measures import Measure, beside, pearson, spearman

if TYPE_CHECKING:
    from ..architecture import Architecture
    from ..pieces.cut import Cut

ALIKE = 0.01
"""How far two scores lie apart at most that count as the same: what fixed-point numbers make of one, and no rank."""
_SILENT = 2
"""In place of whether a score is above the threshold."""


class Score(Answer):
    """One score; `found` are these, ranks from 0, or 1 and 0 by the threshold, float [count], NaN for none."""

    name = "score"
    ending = "ForSequenceClassification"
    problem_type = "regression"
    key = "score"
    labels = (1, 1)
    target = "number"
    outputs = ("label", "logits", "order", "threshold")
    as_logits = ("label", "logits")
    words = Words(
        kind="a score",
        one="score",
        many="scores",
        given={
            "label": "the score",
            "logits": "the score",
            "order": "its place among the scores of a request",
            "threshold": "whether the score is above a threshold",
        },
        last_step={
            "label": "a score",
            "logits": "a score",
            "order": "a score and compares it with those of the same request, still on shares",
            "threshold": "a score and compares it with a threshold, still on shares",
        },
    )

    def revealed_shape(self, architecture: Architecture, output: Output, length: int) -> Shape:
        """A rank, or a bit."""
        return ()

    def reveal(self, architecture: Architecture, logits: Array, compared: Array, output: Output) -> Array:
        """How many texts come before, or whether the score is above the threshold."""
        count = len(logits)
        answered = within_limits(architecture, compared) if architecture.compares else jnp.ones(count, bool)
        if output == "threshold":
            above = (logits[:, 0] > architecture.above[0]).astype(jnp.int32)
            return jnp.where(answered, above, _SILENT) if architecture.compares else above
        ranks = _before(logits[:, 0], answered if architecture.compares else None)
        return jnp.where(answered, ranks, count) if architecture.compares else ranks

    def revealed(
        self, architecture: Architecture, values: np.ndarray, output: Output, cuts: Sequence[Cut]
    ) -> list[Prediction]:
        """Ranks that are no order, or anything but a bit, are none that honest parties give."""
        found = [int(value) for value in values.reshape(-1)]
        silent = _SILENT if output == "threshold" else len(found)
        told = [value for value in found if not (architecture.compares and value == silent)]
        if output == "threshold":
            if not set(told) <= {0, 1}:
                raise ValueError("is neither above the threshold nor not")
            return [_above(value, silent) for value in found]
        if sorted(told) != list(range(len(told))):
            raise ValueError("is no order of the texts")
        return [_rank(value, len(told), silent) for value in found]

    def read(self, architecture: Architecture, logits: np.ndarray, cuts: Sequence[Cut] = ()) -> list[Prediction]:
        """The logits themselves."""
        return [
            Prediction(float(score), f"{score:.4f}", {self.key: float(score)}, (float(score),))
            if np.isfinite(score)
            else self.unanswered
            for score in self.plain(architecture, logits)
        ]

    def plain(self, architecture: Architecture, logits: np.ndarray, output: Output = "label") -> np.ndarray:
        """The logits themselves, their ranks, or whether they are above the threshold."""
        scores = np.asarray(logits)[:, 0]
        if output in self.as_logits:
            return scores
        found = (scores > architecture.above[0]).astype(float)
        if output == "order":
            found[np.argsort(-scores, kind="stable")] = np.arange(len(scores))  # what is no number comes last
        return np.where(np.isfinite(scores), found, np.nan)

    def private(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """Their scores, or what was told of these."""
        return np.array([np.nan if one.value is None else one.value for one in predictions], float)

    def answered(self, found: np.ndarray) -> np.ndarray:
        """Which are numbers."""
        return np.isfinite(found)

    def right(self, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which are `ALIKE`."""
        none = ~self.answered(found) & ~self.answered(wanted)
        return none | (np.abs(np.subtract(found, wanted)) <= ALIKE)

    def loss(self, logits: Array, targets: Array, mask: Array) -> Array:
        """Squared error, as transformers has it."""
        return jnp.square(logits[:, 0] - targets)

    def distance(self, logits: Array, wanted: Array, mask: Array) -> Array:
        """Squared error."""
        return jnp.square(logits[:, 0] - wanted[:, 0])

    def measures(self, architecture: Architecture) -> tuple[Measure, ...]:
        """Rank correlation first: a reranker is after an order."""
        return (_SPEARMAN, Measure(name="Pearson", parts=beside, value=pearson))

    def agreement(self, architecture: Architecture) -> Measure:
        """Whether they have one order."""
        return _SPEARMAN


_SPEARMAN = Measure(name="Spearman", parts=beside, value=spearman)


def _before(scores: Array, answered: Array | None) -> Array:
    """Of each of some scores [count] how many of those that are `answered` come before it, int32 [count]: every two are
    compared once, all at the same time.
    """
    count = len(scores)
    if count == 1:
        return (scores > scores + 1).astype(jnp.int32)  # 0, on shares
    first, second = np.triu_indices(count, 1)
    later = scores[second] > scores[first]
    ahead, behind = later, ~later  # of the first of two the second is ahead; of the second, the first
    if answered is not None:
        ahead, behind = ahead & answered[second], behind & answered[first]
    members = np.eye(count, dtype=np.int32)
    return ahead.astype(jnp.int32) @ members[first] + behind.astype(jnp.int32) @ members[second]


def _rank(value: int, count: int, silent: int) -> Prediction:
    if value == silent:
        return Prediction(None, NO_ANSWER, {"rank": None})
    return Prediction(value, f"{value + 1} of {count}", {"rank": value + 1})


def _above(value: int, silent: int) -> Prediction:
    if value == silent:
        return Prediction(None, NO_ANSWER, {"above": None})
    return Prediction(value, "above" if value else "not above", {"above": bool(value)})


SCORE = Score()
