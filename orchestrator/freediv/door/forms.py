"""What HTTP says of each kind of answer. It is asked here alone.

A deployment that reveals no score says `null` in its place: no number is made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, Field

from ..model import Architecture
from ..model.answers import LABEL, LABELS, PIECES, SCORE, VECTOR, Output, Prediction, answer_of
from ..owners.results import Wanted, reading_of
from .refusals import Refusal

Task = Literal["text-classification", "rerank", "token-classification", "feature-extraction"]
"""What callers want of a model, as Hugging Face names it."""


Reads = Literal["texts", "images"]


class Labelled(BaseModel):
    """A label of a text, and its score; both are null where the model could be wrong, and so gave no answer."""

    score: float | None = Field(description="null where the deployment reveals no score")
    label: str | None


class ImageSize(BaseModel):
    """In pixels."""

    height: int
    width: int

    @classmethod
    def of(cls, architecture: Architecture) -> ImageSize | None:
        """What a model of images reads; None: it reads texts."""
        patches = architecture.patches
        return None if patches is None else cls(height=patches.height, width=patches.width)


class Tagged(BaseModel):
    """A span of a text that has a label, from character `start` to before `end`."""

    entity_group: str
    score: float | None = Field(description="null: of a span there is none")
    word: str
    start: int
    end: int


_MODELS: Mapping[Wanted, str] = {
    "labels": "a classifier",
    "score": "a re-ranker",
    "vector": "an embedding model",
    "tags": "a token classifier",
}


class Form:
    """A kind of answer, as HTTP says it.

    Attributes:
        task: what it is asked for at the model's own address.
        also: what it gives beside what its answers are read as.
    """

    task: ClassVar[Task] = "text-classification"
    also: ClassVar[tuple[Wanted, ...]] = ()

    def __init__(self, architecture: Architecture, output: Output) -> None:
        self.architecture, self.output = architecture, output
        self.reading = reading_of(architecture)

    @property
    def reads(self) -> Reads:
        """What the model reads."""
        return "texts" if self.architecture.patches is None else "images"

    def insist(self, wanted: Wanted) -> None:
        """Refuse what this kind of answer does not give, before anything is asked.

        Raises:
            Refusal: says what the model answers.
        """
        if wanted not in (*self.reading.gives, *self.also):
            kind = answer_of(self.architecture).words.kind
            raise Refusal("Backend", f"the model is not {_MODELS[wanted]}: it answers {kind}")

    def model_type(self) -> Mapping[str, Mapping[str, object]]:
        """As `/info` has it."""
        return {}

    def labels(self, prediction: Prediction, *, raw: bool) -> list[Labelled]:
        """A text's labels, the best first.

        Args:
            prediction: its answer.
            raw: logits, where there are scores, in place of probabilities.
        """
        found = self.reading.labels(prediction, raw=raw)
        if not found.answered:
            return [Labelled(score=None, label=None)]
        if found.scores is None:
            return [Labelled(score=None, label=name) for name in found.labels]
        return [Labelled(score=score, label=name) for name, score in found.scores.items()]

    def score(self, prediction: Prediction, *, raw: bool) -> float | None:
        """How well the second text of a pair answers the first; a probability, or the logit if `raw`."""
        found = self.reading.score(prediction)
        return found.score if raw else found.probability

    def place(self, prediction: Prediction) -> float:
        """Which is less for a text that answers better."""
        return self.reading.score(prediction).place

    def vector(self, prediction: Prediction) -> np.ndarray | None:
        """A text's embedding, float [hidden]."""
        return self.reading.vector(prediction).vector

    def tags(self, prediction: Prediction) -> list[Tagged] | None:
        """A text's spans, in their order."""
        found = self.reading.tags(prediction)
        if not found.answered:
            return None
        return [
            Tagged(entity_group=span.label, score=None, word=span.words, start=span.start, end=span.end)
            for span in found.spans
        ]

    def _classifier(self) -> Mapping[str, object]:
        names = self.architecture.label_names
        by_name = {name: index for index, name in enumerate(names)}
        return {"id2label": {str(index): name for index, name in enumerate(names)}, "label2id": by_name}


class _Labels(Form):
    """One label out of several, or any number; with logits, all of them."""

    def model_type(self) -> Mapping[str, Mapping[str, object]]:
        return {"classifier": self._classifier()}


class _Score(Form):
    """A score, which is all that the model answers, or less than that."""

    task = "rerank"
    also = ("labels",)

    def insist(self, wanted: Wanted) -> None:
        super().insist(wanted)
        if wanted == "labels" and self.output == "order":
            raise Refusal("Backend", "the parties tell the order of a request's texts alone: ask for it at /rerank")

    def model_type(self) -> Mapping[str, Mapping[str, object]]:
        return {"reranker": self._classifier()}

    def labels(self, prediction: Prediction, *, raw: bool) -> list[Labelled]:
        found = self.reading.score(prediction)
        if found.above is False:
            return []
        name = self.architecture.label_names[0] if found.answered else None
        return [Labelled(score=self.score(prediction, raw=raw), label=name)]


class _Pieces(Form):
    """Spans of word pieces that have a label; of a span no score is known."""

    task = "token-classification"

    def model_type(self) -> Mapping[str, Mapping[str, object]]:
        return {"token_classifier": self._classifier()}


class _Vector(Form):
    """A vector."""

    task = "feature-extraction"

    def model_type(self) -> Mapping[str, Mapping[str, object]]:
        return {"embedding": {"pooling": {"first": "cls"}.get(self.architecture.pooling, self.architecture.pooling)}}


FORMS: Mapping[str, type[Form]] = {
    LABEL.name: _Labels,
    LABELS.name: _Labels,
    SCORE.name: _Score,
    PIECES.name: _Pieces,
    VECTOR.name: _Vector,
}
"""By the names of kinds of answers."""


def form_of(architecture: Architecture, output: Output) -> Form:
    """How a model's answers are said, of which the parties reveal the output."""
    return FORMS.get(answer_of(architecture).name, Form)(architecture, output)
