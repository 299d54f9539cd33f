"""Labelled texts, single or in pairs, from TSV, CSV or JSONL files with named columns; and labelled images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...model import Given, Text
from ...model.answers import Target
from ...model.reading.given import Image, is_pair
from ..run_directory import file_digest
from .images import by_class, digest_of, named
from .labels import require_names
from .rows import Row, read_lines, read_rows
from .targets import Cell, Naming, as_list, read_targets


@dataclass(frozen=True)
class Examples:
    """Texts (all single, or all pairs), or images, with what is said of them.

    `labels` [count, ...] are as `read_targets` has them, such as indices into `label_names`, or None where the file has
    no label column. `digest` is the SHA-256
    of the file, which a resumed run compares and a model card shows.
    """

    texts: tuple[Given, ...]
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    source: Path
    digest: str

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def pairs(self) -> bool:
        """Whether every text is two."""
        return any(map(is_pair, self.texts[:1]))

    @property
    def content(self) -> str:
        """A SHA-256 of what was read, which other columns or names of the same file change."""
        labels = None if self.labels is None else self.labels.tolist()
        read = [file_digest(one) if isinstance(one, Path) else one for one in self.texts]
        return hashlib.sha256(json.dumps([read, labels, self.label_names]).encode()).hexdigest()

    def take(self, rows: np.ndarray) -> Examples:
        """The examples at these row numbers, in their order."""
        labels = None if self.labels is None else self.labels[rows]
        return Examples(tuple(self.texts[row] for row in rows), labels, self.label_names, self.source, self.digest)


def read_examples(
    path: Path,
    *,
    text_columns: Sequence[str] = ("sentence",),
    label_column: str = "label",
    label_names: Sequence[str] | None = None,
    numbered: bool = True,
    labelled: bool | None = True,
    target: Target = "class",
    image_column: str | None = None,
) -> Examples:
    """Read a `.tsv`, `.csv` (both with a header) or `.jsonl` file; `read_rows` says how. With an `image_column`, that
    names files, from where the table stands. A folder holds images, in folders that are named for their classes.

    Labels are names out of `label_names` or, where `numbered` and no name is a number, integers counting from 0;
    without `label_names` they are the distinct labels of the file, as `distinct_labels` orders them. A `target` of
    another form has numbers, or a label for each word; where nothing is to be said of a text, the column is not read.
    `labelled` None: labels are read where the file has that column. Two `text_columns` make pairs.

    Raises:
        UserError: no such file, no rows, a column or a label that is not there, or labels that make no classes; with
            the line.
    """
    path = Path(path)
    if path.is_dir():
        return _by_class(path, label_names, numbered=numbered, target=target)
    _require_columns(text_columns, None if labelled is False else label_column)
    names = None if label_names is None else require_names(label_names)
    words = target == "classes of words"
    if words and len(text_columns) > 1:
        raise UserError("--text-column: a label for each word is said of single texts; name one column")
    if target == "nothing":
        labelled = False
    optional = labelled is None
    texts: list[Given] = []
    cells: list[Cell] = []
    for line, row in read_rows(path):
        where = f"{path}, line {line}"
        if image_column is not None:
            texts.append(named(row, image_column, path, line))
        else:
            texts.append(_given(row, text_columns, where, words=words))
        if optional and len(texts) == 1:
            labelled = label_column in row
        if labelled:
            cells.append((where, _cell(row, label_column, where)))
            if words:
                _require_as_many(texts[-1], cells[-1], label_column)
        elif optional and label_column in row:
            raise UserError(f"{where}: a label, which the rows before have not; give one to all, or to none")
    if not texts:
        raise UserError(f"{path} has no rows; give a file with at least one sentence")
    digest = file_digest(path)
    if not labelled:
        return Examples(tuple(texts), None, names or (), path, digest)
    labels, classes = read_targets(target, cells, Naming(names, numbered, path, label_column))
    return Examples(tuple(texts), labels, classes, path, digest)


def _by_class(path: Path, label_names: Sequence[str] | None, *, numbered: bool, target: Target) -> Examples:
    if target not in ("class", "nothing"):
        raise UserError(f"{path}: folders name one class of each image, and the model answers more; give a table")
    names = None if label_names is None else require_names(label_names)
    found = list(by_class(path))
    images, digest = tuple(image for _, image, _ in found), digest_of(path)
    if target == "nothing":
        return Examples(images, None, names or (), path, digest)
    cells: list[Cell] = [(where, label) for where, _, label in found]
    labels, classes = read_targets(target, cells, Naming(names, numbered, path, "folder"))
    return Examples(images, labels, classes, path, digest)


def read_texts(path: Path, columns: Sequence[str] = ("sentence",)) -> list[Text]:
    """The texts of a `.txt` file, one a line, without the space around them and without blank lines; or those in a
    column, or in two, of what `read_rows` reads.

    Raises:
        UserError: no such file, nothing in it, or a text that is empty.
    """
    path = Path(path)
    if path.suffix.lower() != ".txt":
        return [
            one for one in read_examples(path, text_columns=columns, labelled=False).texts if not isinstance(one, Image)
        ]
    texts: list[Text] = [line.strip() for _, line in read_lines(path) if line.strip()]
    if not texts:
        raise UserError(f"{path} is empty; give a file with a sentence a line")
    return texts


def split_off(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """A random split: (the rest, `fraction` of the examples), each in the file's order; the same for the same seed."""
    order = np.random.default_rng(seed).permutation(len(examples))
    count = round(fraction * len(examples))
    return examples.take(np.sort(order[count:])), examples.take(np.sort(order[:count]))


def _require_columns(text_columns: Sequence[str], label_column: str | None) -> None:
    if not 1 <= len(text_columns) <= 2:
        raise UserError(f"--text-column: {len(text_columns)} columns; name one, or the two of a pair")
    named = [*text_columns, *([] if label_column is None else [label_column])]
    if len({*named}) < len(named):
        both = ", ".join(named)
        raise UserError(f"--text-column, --label-column: {both}: one column is named twice; name different ones")


def _given(row: Row, columns: Sequence[str], where: str, *, words: bool) -> Text:
    read = [_words(row, column, where) if words else _text(row, column, where) for column in columns]
    return read[0] if len(read) == 1 else (read[0], read[1])


def _require_as_many(text: Given, cell: Cell, column: str) -> None:
    """Refuse labels of words that are not as many as these."""
    where, labels = cell
    count = len(str(text).split())
    if len(as_list(labels, where, column)) != count:
        raise UserError(f"{where}: has {count} words, and another number of labels")


def _cell(row: Row, column: str, where: str) -> object:
    if column not in row:
        found = ", ".join(sorted(row))
        raise UserError(f"{where}: there is no column '{column}' (there are: {found}); name it with an option")
    return row[column]


def _text(row: Row, column: str, where: str) -> str:
    value = _cell(row, column, where)
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise UserError(f"{where}: column '{column}' must hold text or a whole number")
    if not str(value).strip():
        raise UserError(f"{where}: the text in column '{column}' is empty; remove the row")
    return str(value)


def _words(row: Row, column: str, where: str) -> str:
    found = as_list(_cell(row, column, where), where, column)
    if not found:
        raise UserError(f"{where}: column '{column}' has no words; remove the row")
    return " ".join(found)
