"""What the label column of a file says of its texts, in the form that a kind of answer has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ...errors import UserError
from ...model import Given, Reader, Text
from ...model.answers import Target
from ...model.answers.pieces import IGNORED
from ...model.pieces.tokenizer import reading
from ...model.reading.texts import TextReader, texts_of
from .labels import distinct_labels, label_index, require_label, require_names

Cell = tuple[str, object]
"""Where it stands, and what."""


@dataclass(frozen=True)
class Naming:
    """Which classes there are: those of `names`, or those of the `column` in the file at `path`; a number stands for
    one where `numbered`.
    """

    names: tuple[str, ...] | None
    numbered: bool
    path: Path
    column: str


def read_targets(target: Target, cells: Sequence[Cell], naming: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    """The values of a column, and the names of its classes.

    Returns:
        Of `class` int [count]; of `any classes` bits [count, classes]; of `number` float [count]; of `classes of words`
        int [count, most words], with `IGNORED` beyond a text's end.

    Raises:
        UserError: a cell holds something else, or a label that is not known; with the line.
    """
    return _READERS[target](cells, naming)


def _classes(cells: Sequence[Cell], naming: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    raw = [require_label(as_text(cell, where, naming.column), where, naming.names) for where, cell in cells]
    classes = distinct_labels(raw, naming.path) if naming.names is None else naming.names
    found = [
        label_index(one, classes, where, numbered=naming.numbered) for one, (where, _) in zip(raw, cells, strict=True)
    ]
    return np.array(found, np.int32), classes


def _any_classes(cells: Sequence[Cell], naming: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    rows = [
        [require_label(one, where, naming.names) for one in _set(cell, where, naming.column)] for where, cell in cells
    ]
    classes = naming.names or tuple(sorted({label for row in rows for label in row}))
    if not classes:
        raise UserError(f"{naming.path}: no row has a label")
    found = np.zeros((len(rows), len(classes)), np.int32)
    for own, row, (where, _) in zip(found, rows, cells, strict=True):
        own[[label_index(one, classes, where, numbered=naming.numbered) for one in row]] = 1
    return found, classes


def _set(cell: object, where: str, column: str) -> list[str]:
    """Labels of a list of JSON, or with commas between them; there may be none."""
    if isinstance(cell, list):
        return [as_text(one, where, column) for one in cell]
    return [one for one in as_text(cell, where, column).split(",") if one.strip()]


def _numbers(cells: Sequence[Cell], naming: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    if naming.names and len(naming.names) > 1:
        raise UserError(f"--label-names: a score has one name at most, not {len(naming.names)}")
    return np.array([_number(cell, where) for where, cell in cells], np.float32), naming.names or ("score",)


def _number(cell: object, where: str) -> float:
    try:
        if isinstance(cell, bool) or not isinstance(cell, str | int | float):
            raise ValueError
        found = float(cell)
    except ValueError:
        raise UserError(f"{where}: the label {str(cell)[:40]!r} is no number, and the model answers a score") from None
    if not math.isfinite(found):
        raise UserError(f"{where}: the label is not finite; give it a number, or remove the row")
    return found


def _classes_of_words(cells: Sequence[Cell], naming: Naming) -> tuple[np.ndarray, tuple[str, ...]]:
    rows = [
        [require_label(one, where, naming.names) for one in as_list(cell, where, naming.column)]
        for where, cell in cells
    ]
    flat = [label for row in rows for label in row]
    if naming.names is None:
        classes = tuple(sorted(set(flat), key=lambda label: (label != "O", label.partition("-")[2], label)))
        require_names(classes)
    else:
        classes = naming.names
    found = np.full((len(rows), max(map(len, rows))), IGNORED, np.int32)
    for own, row, (where, _) in zip(found, rows, cells, strict=True):
        own[: len(row)] = [label_index(one, classes, where, numbered=naming.numbered) for one in row]
    return found, classes


_READERS: dict[Target, Callable[[Sequence[Cell], Naming], tuple[np.ndarray, tuple[str, ...]]]] = {
    "class": _classes,
    "any classes": _any_classes,
    "number": _numbers,
    "classes of words": _classes_of_words,
}


def as_text(cell: object, where: str, column: str) -> str:
    """A cell of a column as a text.

    Raises:
        UserError: it is a list, an object, or a broken number.
    """
    if isinstance(cell, bool):
        return str(cell).lower()  # as JSON has it
    if not isinstance(cell, str | int):
        raise UserError(f"{where}: column '{column}' must hold text or a whole number")
    return str(cell)


def as_list(cell: object, where: str, column: str) -> list[str]:
    """A cell of a column as a list of texts without spaces: of JSON, or as a text with spaces between.

    Raises:
        UserError: it is none.
    """
    if isinstance(cell, str):
        return cell.split()
    if not isinstance(cell, list):
        raise UserError(
            f"{where}: column '{column}' must hold a list, one for each word, or a text with spaces between"
        )
    found = [as_text(one, where, column) for one in cell]
    if any(len(one.split()) != 1 for one in found):
        raise UserError(f"{where}: column '{column}' has a list with an empty entry, or one with a space in it")
    return found


def as_wanted(target: Target, reader: Reader, texts: Sequence[Given], labels: np.ndarray, longest: int) -> np.ndarray:
    """What data says of texts, as answers to them have it; texts are cut at `longest` word pieces."""
    if target != "classes of words":
        return labels
    assert isinstance(reader, TextReader)
    return labels_of_pieces(reader.tokenizer, texts_of(texts), labels, longest)


def labels_of_pieces(tokenizer: Tokenizer, texts: Sequence[Text], labels: np.ndarray, longest: int) -> np.ndarray:
    """The labels of words [count, most words] as labels of word pieces [count, most pieces]: a word's first piece has
    its label, all others are `IGNORED`. Texts are words with a space between, cut at `longest` pieces.
    """
    tokenizer.enable_truncation(longest)
    with reading(texts):
        encoded = tokenizer.encode_batch(list(texts))
    tokenizer.no_truncation()
    found = np.full((len(texts), max(map(len, encoded))), IGNORED, np.int32)
    for own, text, encoding, row in zip(found, texts, encoded, labels, strict=True):
        assert isinstance(text, str)
        starts = np.cumsum([0, *(len(word) + 1 for word in text.split(" "))])
        last = -1
        for place, ((start, end), member) in enumerate(zip(encoding.offsets, encoding.sequence_ids, strict=True)):
            if member is None or end <= start:
                continue
            # A piece may begin with the space before its word.
            word = int(np.searchsorted(starts, end - 1, side="right")) - 1
            if word != last:
                own[place], last = row[word], word
    return found
