"""Whether a model's values stay in the ring on texts from anywhere, cut at given lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..transformer import Model, Text
from .accuracy import Accuracy, accuracy_of, labels_of
from .bounds import stage_bounds, within_the_ring
from .comparison import read_as_far
from .evaluation import logits_of
from .headroom import Headroom, bits_of, measure_headroom
from .vocabulary import encode, read_tokenizer


@dataclass(frozen=True)
class RangeCheck:
    """All texts, cut at `length` word pieces: largest magnitudes, what no text can take them beyond, and how often the
    teacher's label is given.
    """

    length: int
    count: int
    headroom: Headroom
    bounds: Mapping[str, float]
    agreement: Accuracy | None

    def to_dict(self) -> dict[str, object]:
        """One object of `--json`."""
        return {
            "length": self.length,
            "count": self.count,
            "without_answer": self.headroom.without_answer,
            "headroom_bits": self.headroom.bits,
            "stages": {name: self._stage(name) for name in self.headroom.largest},
            "agreement": None if self.agreement is None else asdict(self.agreement),
        }

    def _stage(self, name: str) -> dict[str, float | None]:
        largest, bound = self.headroom.largest[name], self.bounds[name]
        return {"largest": largest, "bits": bits_of(largest), "bound": bound if within_the_ring(bound) else None}


def check_ranges(
    model: Model, texts: Sequence[Text], lengths: Sequence[int], teacher: Model | None = None
) -> list[RangeCheck]:
    """Run a folded model over texts, cut at each of `lengths` word pieces, and compare its labels with a teacher's.

    Both read the same words: the teacher's texts end where the model's last piece does. Both come from directories with
    tokenizers.
    """
    bounds = stage_bounds(model)  # of any text, however long
    return [_check_range(model, texts, length, bounds, teacher) for length in lengths]


def _check_range(
    model: Model, texts: Sequence[Text], length: int, bounds: Mapping[str, float], teacher: Model | None
) -> RangeCheck:
    assert model.directory is not None
    tokenizer = read_tokenizer(model.directory)
    length = min(length, model.architecture.buckets[-1])  # parties serve no longer ones
    sequences = encode(tokenizer, texts, length)
    headroom = measure_headroom(model, sequences, f"{length} pieces: range")
    if teacher is None:
        return RangeCheck(length, len(texts), headroom, bounds, None)
    same = read_as_far(teacher, tokenizer, texts, length)
    wanted = labels_of(logits_of(teacher, same, f"{length} pieces: teacher"))
    found = labels_of(logits_of(model, sequences, f"{length} pieces: labels"))
    return RangeCheck(length, len(texts), headroom, bounds, accuracy_of(int(np.sum(wanted == found)), len(texts)))
