"""One label out of several: the largest logit's.

Revealed is its index, int32 [batch], so that an answer gives no more than the prediction away, or the logits
[batch, labels]. Where rows have limits, a text with a row beyond its own has the number of labels in place of an index,
and zeros in place of logits, which have one more column: 1 for all other texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...later import Array, jnp
from ..limits import kept, within_limits
from ..stage import Shape
from .answer import Answer, Output, Prediction, Words, cross_entropy, divergence, numbers
from .measures import Measure, share

if TYPE_CHECKING:
    from ..architecture import Architecture
    from ..pieces.cut import Cut

_NONE = -1
"""In place of a label in plaintext."""


class Label(Answer):
    """One label out of several; `found` are their indices, int [count]."""

    name = "label"
    ending = "ForSequenceClassification"
    problem_type = "single_label_classification"
    key = "label"
    labels = (2, 1024)
    target = "class"
    words = Words(
        kind="one label out of several",
        one="label",
        many="labels",
        given={"label": "the label", "logits": "a score for each label"},
        last_step={
            "label": "a score for each label and picks the largest, still on shares",
            "logits": "a score for each label",
        },
    )

    def revealed_shape(self, architecture: Architecture, output: Output, length: int) -> Shape:
        """An index."""
        return ()

    def reveal(self, architecture: Architecture, logits: Array, compared: Array, output: Output) -> Array:
        """The largest logit's index."""
        of = _of_two if architecture.labels == 2 else _of_many
        return of(architecture, logits, compared)

    def revealed(
        self, architecture: Architecture, values: np.ndarray, output: Output, cuts: Sequence[Cut]
    ) -> list[Prediction]:
        """An index beyond the labels is none that an honest party gives."""
        count = architecture.labels
        labels = [int(label) for label in values.reshape(-1)]
        if not all(0 <= label < count + architecture.compares for label in labels):
            raise ValueError("is no label that the model has")
        return [self._one(architecture, label) if label < count else self.unanswered for label in labels]

    def read(self, architecture: Architecture, logits: np.ndarray, cuts: Sequence[Cut] = ()) -> list[Prediction]:
        """Labels, with their logits."""
        return [
            self.unanswered if label == _NONE else self._one(architecture, int(label), row)
            for label, row in zip(self.plain(architecture, logits), logits, strict=True)
        ]

    def _one(self, architecture: Architecture, label: int, logits: np.ndarray | None = None) -> Prediction:
        name = architecture.label_names[label]
        if logits is None:
            return Prediction(label, name, {self.key: name}, labels=(name,))
        given = tuple(numbers(logits))
        return Prediction(label, name, {self.key: name, "logits": given}, given, (name,))

    def plain(self, architecture: Architecture, logits: np.ndarray, output: Output = "label") -> np.ndarray:
        """The largest logit's index, of numbers alone."""
        return np.where(np.isfinite(logits).all(axis=-1), np.asarray(logits).argmax(axis=-1), _NONE)

    def private(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """Their indices."""
        return np.array([_NONE if one.value is None else one.value for one in predictions])

    def answered(self, found: np.ndarray) -> np.ndarray:
        """Which are indices."""
        return np.asarray(found) != _NONE

    def right(self, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which are the same."""
        return np.asarray(found) == np.asarray(wanted)

    def loss(self, logits: Array, targets: Array, mask: Array) -> Array:
        """Cross-entropy."""
        return cross_entropy(logits, targets)

    def distance(self, logits: Array, wanted: Array, mask: Array) -> Array:
        """Divergence: cross-entropy with the other's probabilities (Hinton et al. 2015, temperature 1), less their own
        entropy.
        """
        return divergence(logits, wanted)

    def measures(self, architecture: Architecture) -> tuple[Measure, ...]:
        """Accuracy; no answer is not right."""
        return (self.agreement(architecture),)

    def agreement(self, architecture: Architecture) -> Measure:
        """How often they are the same."""
        return share("accuracy", self.right)


def _of_two(architecture: Architecture, logits: Array, compared: Array) -> Array:
    if not architecture.compares:
        return (logits[:, 1] > logits[:, 0]).astype(jnp.int32)
    # One comparison for all, of which bits remain; SPU's argmax takes more.
    fits = jnp.concatenate([logits[:, 1:] - logits[:, :1], compared], axis=-1) <= 0
    answered, second = kept(architecture, fits[:, 1:], ~fits[:, 0])
    return second.astype(jnp.int32) ^ ((~answered).astype(jnp.int32) << 1)


def _of_many(architecture: Architecture, logits: Array, compared: Array) -> Array:
    largest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if not architecture.compares:
        return largest
    return jnp.where(within_limits(architecture, compared), largest, architecture.labels)


LABEL = Label()
