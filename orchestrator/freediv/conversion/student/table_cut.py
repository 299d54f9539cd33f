"""What a student's word table loses beside its teacher's: texts that read otherwise, and rows that are others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...model import Model
from .replacement import Student

_WORTH_A_WORD = 0.005


@dataclass(frozen=True)
class TableCut:
    """`otherwise` is the share of the texts that the student reads in other word pieces than its teacher, and `lost`
    the share of the rows' squared length, over all pieces of the texts, by which they differ.
    """

    otherwise: float
    lost: float

    def __str__(self) -> str:
        """A sentence, or nothing where nothing is lost."""
        if max(self.otherwise, self.lost) < _WORTH_A_WORD:
            return ""
        return (
            f"The student's word table: {100 * self.otherwise:.0f} % of the texts are read in other word pieces than "
            f"by the teacher, and {100 * self.lost:.0f} % of what its rows hold is lost before any training."
        )


def measure_table_cut(
    student: Student, teacher: Model, own: Sequence[np.ndarray], teachers: Sequence[np.ndarray]
) -> TableCut:
    """Compare an untrained student's table with its teacher's, over the same texts in the word pieces of both.

    The student's texts may end earlier, and are compared as far as they go.
    """
    if student.kept is None:
        return TableCut(0.0, 0.0)
    otherwise = [not np.array_equal(student.kept[a[:-1]], b[: len(a) - 1]) for a, b in zip(own, teachers, strict=True)]
    found, wanted = _rows(student.model), _rows(teacher)[student.kept]
    uses = np.bincount(np.concatenate(list(own)), minlength=len(found))
    lost = uses @ np.square(wanted - found).sum(axis=1) / (uses @ np.square(wanted).sum(axis=1))
    return TableCut(float(np.mean(otherwise)), float(lost))


def _rows(model: Model) -> np.ndarray:
    """What a model's words become: [vocabulary, hidden]."""
    own = model.parameters["embedding"]
    return own["word"] @ own["projection"] if "projection" in own else own["word"]
