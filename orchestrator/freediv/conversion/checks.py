"""What a student is measured on: texts in both vocabularies, long ones made of them, and random word pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from ..transformer import Model
from .accuracy import LENGTH_BUCKETS, Accuracy, Evaluation, evaluate_predictions, labels_of
from .batches import join_sequences, string_together
from .data import Examples
from .evaluation import logits_of
from .replacement import Student
from .vocabulary import encode

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
        return evaluate_predictions(labels_of(logits), self.labels, [len(sequence) for sequence in self.teachers])

    def with_long(self, teacher: Model, student: Model, longest: int, seed: int) -> Texts:
        """These texts, and long ones made of them; without labels."""
        lengths = [len(sequence) for sequence in self.own]
        groups = string_together(lengths, LONG_CHECKS * longest, longest, np.random.default_rng(seed))[:LONG_CHECKS]

        def joined(sequences: Sequences, model: Model) -> list[np.ndarray]:
            separator = model.architecture.separator_token
            return [join_sequences([sequences[row] for row in group], separator) for group in groups]

        own, teachers = joined(self.own, student), joined(self.teachers, teacher)
        return Texts([*self.own, *own], [*self.teachers, *teachers], None)


@dataclass(frozen=True)
class Checks:
    """What every attempt at a student is measured on.

    Attributes:
        texts: labelled, by data set.
        teachers: the teacher's accuracy on them.
        compared: texts, long ones among them, on which student and teacher are compared.
        wanted: the teacher's labels for these [count].
        stress: for headroom; in the student's word pieces.
    """

    texts: Mapping[str, Texts]
    teachers: Mapping[str, Evaluation | None]
    compared: Texts
    wanted: np.ndarray
    stress: list[np.ndarray]

    def evaluate(self, model: Model) -> dict[str, Evaluation | None]:
        """Accuracy of a student, by data set."""
        return {name: t.evaluate(logits_of(model, t.own, f"{name} rows: student")) for name, t in self.texts.items()}

    def agreement(self, model: Model) -> dict[int, Accuracy]:
        """How often a student gives the teacher's label, by length."""
        found = logits_of(model, self.compared.own, "agreement: student")
        lengths = [min(len(sequence), LENGTH_BUCKETS[-1]) for sequence in self.compared.own]
        return evaluate_predictions(labels_of(found), self.wanted, lengths).by_length


def make_checks(
    teacher: Model, tokenizer: Tokenizer, student: Student, data: Mapping[str, Examples], longest: int, seed: int
) -> Checks:
    """Checks on data sets, of which "held out" is one; the student's texts are cut at the `longest`.

    The teacher reads with `tokenizer`, all that it has positions for.
    """
    limit = teacher.architecture.positions
    texts = {
        name: Texts(encode(student.tokenizer, one.texts, longest), encode(tokenizer, one.texts, limit), one.labels)
        for name, one in data.items()
    }
    teachers = {name: t.evaluate(logits_of(teacher, t.teachers, f"{name} rows: teacher")) for name, t in texts.items()}
    compared = texts["held out"].with_long(teacher, student.model, longest, seed)
    wanted = labels_of(logits_of(teacher, [s[:limit] for s in compared.teachers], "agreement: teacher"))
    return Checks(texts, teachers, compared, wanted, [*compared.own, *random_sequences(student.model, seed)])


def random_sequences(model: Model, seed: int) -> list[np.ndarray]:
    """Random word pieces of every bucket's length: text as far from any training data as can be."""
    architecture = model.architecture
    rng = np.random.default_rng(seed)
    lengths = [bucket for bucket in architecture.buckets if bucket <= 128] or [architecture.positions]
    return [
        rng.integers(architecture.vocabulary, size=lengths[number % len(lengths)]).astype(np.int32)
        for number in range(LONG_CHECKS)
    ]
