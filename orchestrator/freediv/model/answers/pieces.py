"""A label for each word piece, and spans of a text made of them.

Revealed is the index of every piece's largest logit, int32 [batch, length], or the logits [batch, length, labels]. At
padded positions logits are zero, and the index so is 0, whatever is computed there: the mask, on which nothing else
depends, is multiplied in at the end. Where rows have limits, a text with a row beyond its own has the number of labels
at all its positions, and as logits zeros; these then come in one row, with a 1 at its end for all other texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...later import Array, jnp
from ..limits import within_limits
from ..stage import Shape
from .answer import Answer, Output, Prediction, Words, cross_entropy, divergence, numbers, over
from .measures import OUTSIDE, Measure, entities, micro_f1

if TYPE_CHECKING:
    from ..architecture import Architecture
    from ..pieces.cut import Cut

_NONE, IGNORED = -1, -100
"""In place of labels: of a text without an answer, and where there is no piece, or none that counts."""


@dataclass(frozen=True)
class Span:
    """Words of a text that have one label: from character `start` to before `end` of text number `text` (0, or 1 for
    the second of a pair).
    """

    label: str
    start: int
    end: int
    text: int
    words: str


class Pieces(Answer):
    """A label for each word piece; `found` are their indices, int [count, longest], `IGNORED` beyond a text's end."""

    name = "pieces"
    ending = "ForTokenClassification"
    problem_type = None
    key = "spans"
    labels = (1, 1024)
    target = "classes of words"
    pipeline = "token-classification"
    each_piece = True
    words = Words(
        kind="a label for each word piece",
        one="spans",
        many="spans",
        given={"label": "a label for each word piece", "logits": "a score for each label, of each word piece"},
        last_step={
            "label": "a score for each label, of each word piece, and picks the largest, still on shares",
            "logits": "a score for each label, of each word piece",
        },
    )

    def logits_shape(self, architecture: Architecture, length: int) -> Shape:
        """Each piece has its own."""
        return (length, architecture.labels)

    def revealed_shape(self, architecture: Architecture, output: Output, length: int) -> Shape:
        """An index for each piece."""
        return (length,)

    def reveal(self, architecture: Architecture, logits: Array, compared: Array, output: Output) -> Array:
        """The largest logits' indices."""
        largest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        if not architecture.compares:
            return largest
        return jnp.where(within_limits(architecture, compared)[:, None], largest, architecture.labels)

    def revealed(
        self, architecture: Architecture, values: np.ndarray, output: Output, cuts: Sequence[Cut]
    ) -> list[Prediction]:
        """An index beyond the labels is none that an honest party gives; nor are some pieces without an answer."""
        count, found = architecture.labels, values.astype(np.int64)
        none = (found == count).all(axis=-1) & architecture.compares
        if ((found < 0) | (found >= count))[~none].any():
            raise ValueError("is no label that the model has")
        return [
            self.unanswered if silent else self._one(architecture, row[: len(cut)], cut)
            for row, silent, cut in zip(found, none, cuts, strict=True)
        ]

    def read(self, architecture: Architecture, logits: np.ndarray, cuts: Sequence[Cut] = ()) -> list[Prediction]:
        """Labels, with their logits [pieces, labels]."""
        return [
            self.unanswered if row[0] == _NONE else self._one(architecture, row[: len(cut)], cut, own[: len(cut)])
            for row, own, cut in zip(self.plain(architecture, logits), logits, cuts, strict=True)
        ]

    def _one(
        self, architecture: Architecture, indices: np.ndarray, cut: Cut, logits: np.ndarray | None = None
    ) -> Prediction:
        labels = tuple(architecture.label_names[index] for index in indices)
        found = list(spans(labels, cut))
        name = "; ".join(f"{span.label}: {span.words}" for span in found) or "none"
        shown: dict[str, object] = {
            self.key: [asdict(span) for span in found],
            "labels": labels,
            "pieces": cut.pieces,
        }
        value, name = tuple(map(int, indices)), " ".join(name.split())
        if logits is None:
            return Prediction(value, name, shown, labels=labels)
        given = numbers(logits)
        return Prediction(value, name, shown | {"logits": given}, given, labels)

    def plain(self, architecture: Architecture, logits: np.ndarray, output: Output = "label") -> np.ndarray:
        """The largest logits' indices; logits of a text's padding are no numbers."""
        there = np.isfinite(logits).all(axis=-1)
        found = np.where(there, np.nan_to_num(logits).argmax(axis=-1), IGNORED)
        return np.where(there[:, :1], found, _NONE)

    def private(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """Their indices."""
        longest = max((len(one.value) for one in predictions if one.answered), default=1)
        found = np.full((len(predictions), longest), _NONE)
        for row, one in zip(found, predictions, strict=True):
            if one.answered:
                row[:] = IGNORED
                row[: len(one.value)] = one.value
        return found

    def answered(self, found: np.ndarray) -> np.ndarray:
        """Which have indices."""
        return np.asarray(found)[:, 0] != _NONE

    def right(self, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which are the same wherever a label is wanted."""
        longest = max(found.shape[1], wanted.shape[1])
        found, wanted = (_widened(own, longest) for own in (found, wanted))
        none = ~self.answered(found) & ~self.answered(wanted)
        there = self.answered(found) & self.answered(wanted)
        return none | (there & ((found == wanted) | (wanted == IGNORED)).all(axis=-1))

    def loss(self, logits: Array, targets: Array, mask: Array) -> Array:
        """The mean cross-entropy over pieces that have a label."""
        targets = _as_long(targets, logits.shape[1], IGNORED)
        return over(cross_entropy(logits, jnp.maximum(targets, 0)), targets >= 0)

    def distance(self, logits: Array, wanted: Array, mask: Array) -> Array:
        """The mean divergence over real pieces."""
        return over(divergence(logits, jnp.nan_to_num(_as_long(wanted, logits.shape[1], 0))), mask)

    def measures(self, architecture: Architecture) -> tuple[Measure, ...]:
        """F1 of entities, and the share of words with the right label; a word has its first piece's."""

        def of_entities(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
            return np.array(
                [_counted(architecture.label_names, *pair) for pair in zip(*_alike(found, wanted), strict=True)]
            )

        return (
            Measure(name="entity F1", parts=of_entities, value=micro_f1),
            Measure(name="accuracy of words", parts=_right_words, value=_share_of_words),
        )

    def agreement(self, architecture: Architecture) -> Measure:
        """How many pieces have the same label."""
        return Measure(name="share of pieces", parts=_right_words, value=_share_of_words)


def _widened(found: np.ndarray, longest: int) -> np.ndarray:
    return np.pad(found, ((0, 0), (0, longest - found.shape[1])), constant_values=IGNORED)


def _as_long(values: Array, length: int, filling: float) -> Array:
    """Values [batch, ...] of all a data set's lengths, for texts padded to this one."""
    missing = max(0, length - values.shape[1])
    return jnp.pad(values[:, :length], ((0, 0), (0, missing), *((0, 0),) * (values.ndim - 2)), constant_values=filling)


def spans(labels: Sequence[str], cut: Cut) -> Iterator[Span]:
    """The entities of a text; a word has its first piece's label."""
    words = list(cut.words())
    for label, first, last in entities([labels[places[0]] for _, places in words], [text for text, _ in words]):
        (text, begin), (_, end) = words[first], words[last]
        start, stop = cut.extent(begin[0], end[-1])
        yield Span(label, start, stop, text, cut.between(text, start, stop))


def _alike(found: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as long as the longer."""
    longest = max(found.shape[1], wanted.shape[1])
    return _widened(found, longest), _widened(wanted, longest)


def _right_words(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of each text, how many words have the label that is wanted, and how many words it has [count, 2]."""
    found, wanted = _alike(found, wanted)
    there = wanted >= 0
    return np.stack([((found == wanted) & there).sum(axis=-1), there.sum(axis=-1)], axis=-1)


def _share_of_words(parts: np.ndarray) -> float:
    right, there = parts.sum(axis=0)
    return float(right / there) if there else 1.0


def _counted(names: Sequence[str], found: np.ndarray, wanted: np.ndarray) -> list[list[int]]:
    """Entities of a text that are rightly, wrongly, not found; with the very same words."""
    words = wanted >= 0
    have, want = (
        set(entities([names[label] if label >= 0 else OUTSIDE for label in own[words]])) for own in (found, wanted)
    )
    return [[len(have & want)], [len(have - want)], [len(want - have)]]


PIECES = Pieces()
