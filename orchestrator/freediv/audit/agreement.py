"""How often another model gives the model's answer: what an extraction is measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..conversion.measures.predictions import answers_of
from ..model import Model
from ..model.answers import LABEL


@dataclass(frozen=True)
class Asked:
    """Texts and what the model answers to them.

    Attributes:
        sequences: word pieces, one array a text.
        labels: the model's, int [count]; as `Label` has them where there is none.
    """

    sequences: Sequence[np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def most_common(self) -> float:
        """The share of texts with the label that most have: what a copy agrees with that knows nothing but this."""
        return float(np.unique(self.labels, return_counts=True)[1].max() / len(self.labels))


def ask(model: Model, sequences: Sequence[np.ndarray], task: str) -> Asked:
    """A model's answers in plaintext, without texts that get none."""
    found = answers_of(model, sequences, task)
    kept = np.flatnonzero(LABEL.answered(found))
    return Asked([sequences[row] for row in kept], found[kept])


def agreement(copy: Model, asked: Asked, task: str) -> float:
    """The share of texts to which a copy gives the model's answer."""
    return float(LABEL.right(answers_of(copy, asked.sequences, task), asked.labels).mean())
