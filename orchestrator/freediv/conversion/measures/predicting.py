"""What a model says of texts in plaintext: what its owner sees before it is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...model import Given, Model, beyond_table, read_reader
from ...model.answers import Prediction, answer_of, numbers
from ...model.pieces.cut import Cut
from ...model.reading.given import as_entry, is_pair
from ...model.reading.reader import Read
from ..texts.pairing import as_read
from .predictions import logits_of, rows_of


@dataclass(frozen=True)
class Plaintext:
    """What is said of one text or image: what was read of it, the answer, and the numbers that it is taken from.

    `outputs` are logits [labels], for each piece where every one has its own [pieces, labels], a vector [hidden], or an
    encoder's rows [pieces, hidden] where it does not say what becomes of them; NaN where there is no answer.
    """

    read: Read
    prediction: Prediction
    outputs: np.ndarray

    def entry(self, *, pieces: bool = False) -> dict[str, object]:
        """For `--json`; with `pieces` those of the text and their numbers, too."""
        found = as_entry(self.read.given)
        found["outputs"] = numbers(self.outputs) if self.prediction.answered else None
        found["labels"] = list(self.prediction.labels)
        if pieces:
            found |= {"pieces": self.read.pieces, "ids": self.read.sequence.tolist()}
        return found | {key: value for key, value in self.prediction.entry().items() if key != "logits"}


def predict(
    model: Model, texts: Sequence[Given], *, truncate: bool = False, longest: int | None = None, task: str = "predict"
) -> list[Plaintext]:
    """What a model that was read from a directory says of texts, in their order.

    Args:
        model: the model; a plain Hugging Face directory takes single texts and pairs alike.
        texts: texts, or pairs of them; or images.
        truncate: cut what is longer than the model reads; else it is refused.
        longest: cut at so many word pieces.
        task: for progress on standard error.

    Raises:
        UserError: a text is longer than the model reads, or a pair where it reads single texts, or the other way round.
    """
    assert model.directory is not None
    architecture = model.architecture
    if not architecture.padded and (truncate or longest is not None):
        raise UserError(f"{model.directory}: reads images, which have no word pieces to cut at; leave that out")
    found: dict[int, Plaintext] = {}
    for pairs in (False, True):
        rows = [row for row, text in enumerate(texts) if is_pair(text) == pairs]
        if not rows:
            continue
        if architecture.padded and not model.plain and pairs != architecture.pairs:
            what = ("a pair", "single texts: give one") if pairs else ("one text", "pairs: give two with --pair")
            raise UserError(f"text {rows[0] + 1} is {what[0]}, and the model reads {what[1]}")
        own = as_read(model, [texts[row] for row in rows], model.directory)
        read = _read(own, [texts[row] for row in rows], rows, model.directory, truncate=truncate, longest=longest)
        found |= zip(rows, _said(own, read, task), strict=True)
    return [found[row] for row in range(len(texts))]


def _said(model: Model, read: Sequence[Read], task: str) -> list[Plaintext]:
    architecture, answer = model.architecture, answer_of(model.architecture)
    sequences = [one.sequence for one in read]
    cuts = [one for one in read if isinstance(one, Cut)]
    if model.gives_rows:
        outputs = rows_of(model, sequences, task)
        logits = np.array([own.mean(axis=0) if architecture.pooling == "mean" else own[0] for own in outputs])
    else:
        logits = logits_of(model, sequences, task)
        outputs = [own[: len(one)] if answer.each_piece else own for own, one in zip(logits, read, strict=True)]
        if not answer.linear:
            outputs = list(answer.plain(architecture, logits))
    found = answer.read(architecture, logits, cuts)
    return [Plaintext(*one) for one in zip(read, found, outputs, strict=True)]


def _read(
    model: Model, texts: Sequence[Given], rows: Sequence[int], directory: Path, *, truncate: bool, longest: int | None
) -> Sequence[Read]:
    reader, most = read_reader(directory), model.architecture.positions
    if longest is not None and not 1 <= longest <= most:
        raise UserError(f"--longest {longest}: the model reads 1 to {most} word pieces")
    found = reader.read(texts, model.architecture, longest or most if truncate or longest is not None else None)
    for row, cut in zip(rows, found, strict=True):
        if len(cut) > most:
            raise UserError(
                f"text {row + 1} has {len(cut)} word pieces; the model reads {most}: shorten it, or have it cut there "
                "with --truncate"
            )
        if not len(cut):
            raise UserError(f"text {row + 1} has no word pieces; leave it out")
        if isinstance(cut, Cut) and (beyond := beyond_table([cut.encoding.ids], model.architecture.vocabulary)):
            raise UserError(
                f"text {row + 1} has the word piece number {beyond[1]}, and the model's word table has "
                f"{model.architecture.vocabulary} rows; give the model its own tokenizer.json"
            )
    return found
