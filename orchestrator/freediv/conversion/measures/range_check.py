"""Whether a model's values stay in the ring on texts from anywhere, cut at given lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...model import Given, Model, read_reader
from .bounds import stage_bounds, within_the_ring
from .comparison import read_as_far, require_alike, require_same_pieces
from .evaluation import Estimate, estimate
from .headroom import Headroom, bits_of, measure_headroom
from .predictions import answers_of


@dataclass(frozen=True)
class RangeCheck:
    """All texts, cut at `length` word pieces: largest magnitudes, what no text can take them beyond, and how often the
    teacher's label is given.
    """

    length: int
    count: int
    headroom: Headroom
    bounds: Mapping[str, float]
    agreement: Estimate | None

    def to_dict(self) -> dict[str, object]:
        """One object of `--json`."""
        return {
            "length": self.length,
            "count": self.count,
            "without_answer": self.headroom.without_answer,
            "headroom_bits": self.headroom.bits,
            "stages": {name: self._stage(name) for name in self.headroom.largest},
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
        }

    def _stage(self, name: str) -> dict[str, float | None]:
        largest, bound = self.headroom.largest[name], self.bounds[name]
        return {"largest": largest, "bits": bits_of(largest), "bound": bound if within_the_ring(bound) else None}


def check_ranges(
    model: Model, texts: Sequence[Given], lengths: Sequence[int], teacher: Model | None = None
) -> list[RangeCheck]:
    """Run a folded model over texts, cut at each of `lengths` word pieces, and compare its labels with a teacher's.

    Both read the same words: the teacher's texts end where the model's last piece does. Both come from directories with
    tokenizers.
    """
    bounds = stage_bounds(model)  # of any text, however long
    return [_check_range(model, texts, length, bounds, teacher) for length in lengths]


def _check_range(
    model: Model, texts: Sequence[Given], length: int, bounds: Mapping[str, float], teacher: Model | None
) -> RangeCheck:
    assert model.directory is not None
    reader = read_reader(model.directory)
    length = min(length, model.architecture.buckets[-1])  # parties serve no longer ones
    sequences = reader.sequences(texts, model.architecture, length)
    headroom = measure_headroom(model, sequences, f"{length} pieces: range")
    if teacher is None:
        return RangeCheck(length, len(texts), headroom, bounds, None)
    answer = require_alike(model, teacher, f"--against {teacher.directory}")
    same = read_as_far(teacher, reader, texts, length)
    if answer.each_piece:
        require_same_pieces(sequences, same, f"--against {teacher.directory}")
    wanted = answers_of(teacher, same, f"{length} pieces: teacher")
    found = answers_of(model, sequences, f"{length} pieces: labels")
    alike = estimate(answer.agreement(model.architecture), found, wanted)
    return RangeCheck(length, len(texts), headroom, bounds, alike)
