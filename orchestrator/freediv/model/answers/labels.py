"""Any number of labels: those whose logits are above their thresholds.

Without thresholds of its own a model has 0 for each, where the label is as probable as not. Revealed is a bit for each
label, int32 [batch, labels], or the logits. Where rows have limits, a text with a row beyond its own has 2 in place of
each bit, and zeros in place of logits, which have one more column: 1 for all other texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...later import Array, jax, jnp
from ..limits import within_limits
from ..stage import Shape
from .answer import Answer, Output, Prediction, Words, numbers
from .measures import Measure, counted, macro_f1, micro_f1, share

if TYPE_CHECKING:
    from ..architecture import Architecture
    from ..pieces.cut import Cut

_NONE = -1
"""In place of bits in plaintext."""
_SILENT = 2
"""In place of revealed ones."""


class Labels(Answer):
    """Any number of labels; `found` are a bit for each, int [count, labels]."""

    name = "labels"
    ending = "ForSequenceClassification"
    problem_type = "multi_label_classification"
    key = "labels"
    labels = (1, 1024)
    target = "any classes"
    words = Words(
        kind="any number of labels",
        one="labels",
        many="labels",
        given={"label": "the labels", "logits": "a score for each label"},
        last_step={
            "label": "a score for each label and compares it with its threshold, still on shares",
            "logits": "a score for each label",
        },
    )

    def revealed_shape(self, architecture: Architecture, output: Output, length: int) -> Shape:
        """A bit for each label."""
        return (architecture.labels,)

    def reveal(self, architecture: Architecture, logits: Array, compared: Array, output: Output) -> Array:
        """Which logits are above their thresholds."""
        given = (logits > jnp.asarray(architecture.above, logits.dtype)).astype(jnp.int32)
        if not architecture.compares:
            return given
        return jnp.where(within_limits(architecture, compared)[:, None], given, _SILENT)

    def revealed(
        self, architecture: Architecture, values: np.ndarray, output: Output, cuts: Sequence[Cut]
    ) -> list[Prediction]:
        """Anything but bits is none that an honest party gives; nor are some labels without an answer."""
        found = values.astype(np.int64)
        none = (found == _SILENT).all(axis=-1) & architecture.compares
        if ((found < 0) | (found > 1))[~none].any():
            raise ValueError("is no choice of the labels that the model has")
        return [
            self.unanswered if silent else self._one(architecture, row) for row, silent in zip(found, none, strict=True)
        ]

    def read(self, architecture: Architecture, logits: np.ndarray, cuts: Sequence[Cut] = ()) -> list[Prediction]:
        """Labels, with the logits of all."""
        return [
            self.unanswered if row[0] == _NONE else self._one(architecture, row, own)
            for row, own in zip(self.plain(architecture, logits), logits, strict=True)
        ]

    def _one(self, architecture: Architecture, bits: np.ndarray, logits: np.ndarray | None = None) -> Prediction:
        names = tuple(name for name, bit in zip(architecture.label_names, bits, strict=True) if bit)
        value, name = tuple(map(int, bits)), ", ".join(names) or "none"
        if logits is None:
            return Prediction(value, name, {self.key: names}, labels=names)
        given = tuple(numbers(logits))
        return Prediction(value, name, {self.key: names, "logits": given}, given, names)

    def plain(self, architecture: Architecture, logits: np.ndarray, output: Output = "label") -> np.ndarray:
        """Which logits are above their thresholds, where all are numbers."""
        numeric = np.isfinite(logits).all(axis=-1, keepdims=True)
        return np.where(numeric, np.asarray(logits) > np.array(architecture.above), _NONE)

    def private(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """Their bits."""
        width = max((len(one.value) for one in predictions if one.answered), default=1)
        return np.array([one.value if one.answered else (_NONE,) * width for one in predictions])

    def answered(self, found: np.ndarray) -> np.ndarray:
        """Which have bits."""
        return np.asarray(found)[:, 0] != _NONE

    def right(self, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which have all labels that are wanted, and no other."""
        silent = ~self.answered(found) & ~self.answered(wanted)
        there = self.answered(found) & self.answered(wanted)
        if found.shape[1] != wanted.shape[1]:  # one of them has no answer at all
            return silent
        return silent | (there & (np.asarray(found) == np.asarray(wanted)).all(axis=-1))

    def loss(self, logits: Array, targets: Array, mask: Array) -> Array:
        """The mean cross-entropy of each label for itself."""
        return jnp.mean(jax.nn.softplus(logits) - targets * logits, axis=-1)

    def distance(self, logits: Array, wanted: Array, mask: Array) -> Array:
        """The mean divergence of each label's probability from the other's."""
        p = jax.nn.sigmoid(wanted)
        return jnp.mean(p * (wanted - logits) + jax.nn.softplus(logits) - jax.nn.softplus(wanted), axis=-1)

    def measures(self, architecture: Architecture) -> tuple[Measure, ...]:
        """F1 of all labels together, of each by itself, and how often all of a text's are right."""
        return (_MICRO, Measure(name="macro F1", parts=counted, value=macro_f1), share("all labels", self.right))

    def agreement(self, architecture: Architecture) -> Measure:
        """F1 beside another's labels."""
        return _MICRO


_MICRO = Measure(name="micro F1", parts=counted, value=micro_f1)

LABELS = Labels()
