"""A vector: what sentence encoders make of a text, to be compared with others'.

It is the first row, or the mean of all real ones, as the architecture's `pooling` says. Revealed is the vector
[batch, hidden] as it is: whoever reads it divides it by its length, where the model's vectors are `normalised`. Where
rows have limits there is one more column, 1 for texts whose rows all kept theirs; all others have zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...later import Array, jnp
from ..stage import Shape
from .answer import Answer, Output, Prediction, Words, numbers
from .measures import Measure, cosines, mean, nearest

if TYPE_CHECKING:
    from ..architecture import Architecture
    from ..pieces.cut import Cut

ALIKE = 0.999
"""The least cosine of two vectors that count as the same."""
_SHOWN = 4


class Vector(Answer):
    """A vector; `found` are these, float [count, hidden], NaN for none."""

    name = "vector"
    ending = "Model"
    problem_type = None
    key = "vector"
    labels = (0, 0)
    target = "nothing"
    pipeline = "sentence-similarity"
    image_pipeline = "image-feature-extraction"
    linear = False
    as_logits = ("label", "logits")
    words = Words(
        kind="a vector",
        one="vector",
        many="vectors",
        given={"label": "the vector", "logits": "the vector"},
        last_step={"label": "one vector for the text", "logits": "one vector for the text"},
    )

    def check(self, architecture: Architecture) -> None:
        """Its rows are the answer: nothing is between."""
        super().check(architecture)
        if architecture.pooler != "none":
            raise ValueError(f"pooler: {architecture.pooler!r}; a model that answers {self.words.kind} has none")

    def logits_shape(self, architecture: Architecture, length: int) -> Shape:
        """A row."""
        return (architecture.hidden,)

    def read(self, architecture: Architecture, logits: np.ndarray, cuts: Sequence[Cut] = ()) -> list[Prediction]:
        """The vectors, of length 1 where they are `normalised`."""
        return [
            self._one(vector) if np.isfinite(vector).all() else self.unanswered
            for vector in self.plain(architecture, logits)
        ]

    def _one(self, vector: np.ndarray) -> Prediction:
        given = tuple(numbers(vector))
        first = " ".join(f"{number:.3f}" for number in given[:_SHOWN])
        return Prediction(given, f"{len(given)} numbers: {first} ...", {self.key: given}, given)

    def plain(self, architecture: Architecture, logits: np.ndarray, output: Output = "label") -> np.ndarray:
        """The vectors, of length 1 where they are `normalised`."""
        vectors = np.asarray(logits)
        if not architecture.normalised:
            return vectors
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        return vectors / np.maximum(lengths, 1e-12)  # as torch.nn.functional.normalize

    def private(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """Their vectors."""
        width = max((len(one.value) for one in predictions if one.answered), default=1)
        return np.array([one.value if one.answered else (np.nan,) * width for one in predictions])

    def answered(self, found: np.ndarray) -> np.ndarray:
        """Which are numbers."""
        return np.isfinite(found).all(axis=-1)

    def right(self, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which point the same way, but for an angle whose cosine is `ALIKE`."""
        none = ~self.answered(found) & ~self.answered(wanted)
        lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
        return none | (np.sum(found * wanted, axis=-1) >= ALIKE * lengths)

    def loss(self, logits: Array, targets: Array, mask: Array) -> Array:
        """No data says what a vector is."""
        raise NotImplementedError

    def distance(self, logits: Array, wanted: Array, mask: Array) -> Array:
        """The square of the distance over that of the length that is wanted (Reimers and Gurevych 2020 have squared
        error); of directions alike, twice what the cosine lacks of 1.
        """
        lengths = jnp.sum(jnp.square(wanted), axis=-1)
        return jnp.sum(jnp.square(logits - wanted), axis=-1) / jnp.maximum(lengths, 1e-12)

    def measures(self, architecture: Architecture) -> tuple[Measure, ...]:
        """Beside another model's vectors: cosine, and whether the text nearest to each is the same."""
        return (_COSINE, Measure(name="the same nearest text", parts=nearest, value=mean))

    def agreement(self, architecture: Architecture) -> Measure:
        """Cosine."""
        return _COSINE


_COSINE = Measure(name="cosine", parts=cosines, value=mean)

VECTOR = Vector()
