"""What a model answers, each kind in a file of its own; here by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answer import NO_ANSWER, WITHOUT_ANSWER, Answer, Output, Prediction, Target, marked, numbers
from .label import LABEL
from .labels import LABELS
from .pieces import PIECES
from .score import SCORE
from .vector import VECTOR

if TYPE_CHECKING:
    from ..architecture import Architecture

__all__ = [
    "ANSWERS",
    "LABEL",
    "LABELS",
    "NO_ANSWER",
    "PIECES",
    "SCORE",
    "VECTOR",
    "WITHOUT_ANSWER",
    "Answer",
    "Output",
    "Prediction",
    "Target",
    "answer_of",
    "marked",
    "numbers",
]

ANSWERS: dict[str, Answer] = {one.name: one for one in (LABEL, SCORE, LABELS, PIECES, VECTOR)}
"""What freediv runs. Checkpoints that answer anything else are refused."""


def answer_of(architecture: Architecture) -> Answer:
    """What a model answers."""
    return ANSWERS[architecture.answer]
