"""What a student is measured on: texts in both vocabularies, long ones made of them, and random word pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..transformer import Model
from .accuracy import LENGTH_BUCKETS, Accuracy, Evaluation, evaluate_predictions
from .batches import join_sequences, string_together
from .evaluation import logits_of

Sequences = Sequence[np.ndarray]
LONG_CHECKS = 256
"""Sequences strung together, and as many random ones, for agreement and headroom."""


@dataclass(frozen=True)
class Texts:
    """Texts in the student's word pieces and in the teacher's, and their labels (None: there are none)."""

    own: list[np.ndarray]
    teachers: list[np.ndarray]
    labels: np.ndarray | None

    def evaluate(self, logits: np.ndarray) -> Evaluation | None:
        """Accuracy of logits [count, labels], by the teacher's lengths."""
        if self.labels is None or not len(self.labels):
            return None
        return evaluate_predictions(logits.argmax(-1), self.labels, [len(sequence) for sequence in self.teachers])

    def with_long(self, teacher: Model, student: Model, longest: int, seed: int) -> Texts:
        """These texts, and long ones made of them; without labels."""
        lengths = [len(sequence) for sequence in self.own]
        groups = string_together(lengths, LONG_CHECKS * longest, longest, np.random.default_rng(seed))[:LONG_CHECKS]

        def joined(sequences: Sequences, model: Model) -> list[np.ndarray]:
            separator = model.architecture.separator_token
            return [join_sequences([sequences[row] for row in group], separator) for group in groups]

        own, teachers = joined(self.own, student), joined(self.teachers, teacher)
        return Texts([*self.own, *own], [*self.teachers, *teachers], None)

    def teachers_labels(self, teacher: Model) -> np.ndarray:
        """The teacher's label for each text [count]."""
        cut = [sequence[: teacher.architecture.positions] for sequence in self.teachers]
        return logits_of(teacher, cut, "agreement: teacher").argmax(-1)

    def agreement(self, student: Model, wanted: np.ndarray) -> dict[int, Accuracy]:
        """How often the student gives the wanted labels [count], by length."""
        found = logits_of(student, self.own, "agreement: student")
        lengths = [min(len(sequence), LENGTH_BUCKETS[-1]) for sequence in self.own]
        return evaluate_predictions(found.argmax(-1), wanted, lengths).by_length


def random_sequences(model: Model, seed: int) -> list[np.ndarray]:
    """Random word pieces of every bucket's length: text as far from any training data as can be."""
    architecture = model.architecture
    rng = np.random.default_rng(seed)
    lengths = [bucket for bucket in architecture.buckets if bucket <= 128] or [architecture.positions]
    return [
        rng.integers(architecture.vocabulary, size=lengths[number % len(lengths)]).astype(np.int32)
        for number in range(LONG_CHECKS)
    ]
