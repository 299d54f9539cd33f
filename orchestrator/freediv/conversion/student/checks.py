"""What a student is measured on: texts in both vocabularies, long ones made of them, and random word pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...model import Architecture, Model, Reader
from ...model.answers import answer_of
from ..measures.evaluation import LENGTH_BUCKETS, Estimate, Evaluation, by_length, evaluate_answers
from ..measures.predictions import answers_of
from ..texts.batches import join_sequences, string_together
from ..texts.examples import Examples
from ..texts.targets import as_wanted
from .replacement import Student

Sequences = Sequence[np.ndarray]
LONG_CHECKS = 256
"""Sequences strung together, and as many random ones, for agreement and headroom."""


@dataclass(frozen=True)
class Texts:
    """Texts in the student's word pieces and in the teacher's, and what is wanted of both (None: nothing is said)."""

    own: list[np.ndarray]
    teachers: list[np.ndarray]
    wanted: np.ndarray | None

    def evaluate(self, architecture: Architecture, found: np.ndarray) -> Evaluation | None:
        """How good answers [count, ...] are, by the teacher's lengths."""
        if self.wanted is None or not len(self.wanted):
            return None
        return evaluate_answers(architecture, found, self.wanted, [len(sequence) for sequence in self.teachers])

    def with_long(self, teacher: Model, student: Model, longest: int, seed: int) -> Texts:
        """These texts, and long ones made of them; without labels. Images stay alone."""
        if not student.architecture.padded:
            return Texts(self.own, self.teachers, None)
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
        texts: labelled, by data set; where data says nothing, with the teacher's answers for labels.
        teachers: how good the teacher is on them.
        compared: texts, long ones among them, on which student and teacher are compared.
        wanted: the teacher's answers to these [count, ...].
        stress: for headroom; in the student's word pieces.
    """

    texts: Mapping[str, Texts]
    teachers: Mapping[str, Evaluation | None]
    compared: Texts
    wanted: np.ndarray
    stress: list[np.ndarray]

    def evaluate(self, model: Model) -> dict[str, Evaluation | None]:
        """How good a student is, by data set."""
        return {
            name: t.evaluate(model.architecture, answers_of(model, t.own, f"{name} rows: student"))
            for name, t in self.texts.items()
        }

    def agreement(self, model: Model) -> dict[int, Estimate]:
        """How alike a student's answers and the teacher's are, by length."""
        found = answers_of(model, self.compared.own, "agreement: student")
        lengths = [min(len(sequence), LENGTH_BUCKETS[-1]) for sequence in self.compared.own]
        return by_length(answer_of(model.architecture).agreement(model.architecture), found, self.wanted, lengths)


def make_checks(
    teacher: Model, reader: Reader, student: Student, data: Mapping[str, Examples], longest: int, seed: int
) -> Checks:
    """Checks on data sets, of which "held out" is one; the student's texts are cut at the `longest`.

    The teacher reads with `reader`, all that it has positions for.
    """
    architecture = teacher.architecture
    limit = architecture.positions
    texts: dict[str, Texts] = {}
    teachers: dict[str, Evaluation | None] = {}
    for name, one in data.items():
        own = student.reader.sequences(one.texts, student.model.architecture, longest)
        read = reader.sequences(one.texts, architecture)
        answers, target = answers_of(teacher, read, f"{name} rows: teacher"), answer_of(architecture).target
        wanted = answers if target == "nothing" else None
        if one.labels is not None:
            wanted = as_wanted(target, reader, one.texts, one.labels, limit)
        texts[name] = Texts(own, read, wanted)
        teachers[name] = None if target == "nothing" else texts[name].evaluate(architecture, answers)
    compared = texts["held out"].with_long(teacher, student.model, longest, seed)
    wanted = answers_of(teacher, [s[:limit] for s in compared.teachers], "agreement: teacher")
    return Checks(texts, teachers, compared, wanted, [*compared.own, *random_sequences(student.model, longest, seed)])


def random_sequences(model: Model, longest: int, seed: int) -> list[np.ndarray]:
    """Random word pieces of every bucket's length up to the `longest`: text as far from any training data as can be; or
    images of random pixels, of which half are black or white.
    """
    architecture = model.architecture
    rng = np.random.default_rng(seed)
    if (patches := architecture.patches) is not None:
        shape, most = (patches.channels, patches.height, patches.width), patches.largest_pixel
        return [
            patches.cut(rng.uniform(-most, most, shape) if number % 2 else rng.choice([-most, most], shape))
            for number in range(LONG_CHECKS)
        ]
    lengths = [bucket for bucket in architecture.buckets if bucket <= max(128, longest)] or [architecture.positions]
    return [
        rng.integers(architecture.vocabulary, size=lengths[number % len(lengths)]).astype(np.int32)
        for number in range(LONG_CHECKS)
    ]
