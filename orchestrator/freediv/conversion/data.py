"""Labelled texts, single or in pairs, from TSV, CSV or JSONL files with named columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..transformer import Text
from .run import file_digest


@dataclass(frozen=True)
class Examples:
    """Texts (all single, or all pairs) with their labels.

    `labels` [count] are indices into `label_names`, or None where the file has no label column. `digest` is the SHA-256
    of the file, which a resumed run compares and a model card shows.
    """

    texts: tuple[Text, ...]
    labels: np.ndarray | None
    label_names: tuple[str, ...]
    source: Path
    digest: str

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def pairs(self) -> bool:
        """Whether every text is two."""
        return any(not isinstance(text, str) for text in self.texts[:1])

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
    labelled: bool | None = True,
) -> Examples:
    """Read a `.tsv`, `.csv` (both with a header) or `.jsonl` file.

    A TSV is taken literally (GLUE's files do not quote), a CSV as RFC 4180 has it. Labels are names out of
    `label_names` or integers counting from 0; without `label_names` they are the distinct labels of the file, in order.
    `labelled` None: labels are read where the file has that column. Two `text_columns` make pairs.

    Raises:
        UserError: no such file, no rows, a column or a label that is not there; with the line.
    """
    path = Path(path)
    if not 1 <= len(text_columns) <= 2:
        raise UserError(f"--text-column: {len(text_columns)} columns; name one, or the two of a pair")
    texts: list[Text] = []
    raw_labels: list[str] = []
    lines: list[int] = []
    for line, row in _rows(path):
        cells = [_cell(row, column, path, line) for column in text_columns]
        for column, cell in zip(text_columns, cells, strict=True):
            if not cell.strip():
                raise UserError(f"{path}, line {line}: the text in column '{column}' is empty; remove the row")
        texts.append(cells[0] if len(cells) == 1 else (cells[0], cells[1]))
        lines.append(line)
        if labelled is None:
            labelled = label_column in row
        if labelled:
            raw_labels.append(_cell(row, label_column, path, line).strip())
    if not texts:
        raise UserError(f"{path} has no rows; give a file with at least one sentence")
    digest = file_digest(path)
    if not labelled:
        return Examples(tuple(texts), None, tuple(label_names or ()), path, digest)
    names = tuple(label_names) if label_names is not None else _distinct_labels(raw_labels, path)
    labels = np.array(
        [_label_index(raw, names, path, line) for raw, line in zip(raw_labels, lines, strict=True)], np.int32
    )
    return Examples(tuple(texts), labels, names, path, digest)


def split_off(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """A random split: (the rest, `fraction` of the examples), each in the file's order; the same for the same seed."""
    order = np.random.default_rng(seed).permutation(len(examples))
    count = round(fraction * len(examples))
    return examples.take(np.sort(order[count:])), examples.take(np.sort(order[:count]))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    readers = {".tsv": _delimited_rows, ".csv": _delimited_rows, ".jsonl": _json_rows}
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix not in readers:
        raise UserError(f"{path}: data files end in .tsv, .csv or .jsonl, not '{path.suffix}'")
    try:
        yield from readers[path.suffix](path)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); convert it to UTF-8"
        ) from error


def _delimited_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".tsv":
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(file, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise UserError(f"{path} is empty; its first line must name the columns")
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(cells)} columns, the header has {len(header)}"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}") from error


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: must be a JSON object with named columns")
            yield number, row


def _cell(row: dict[str, object], column: str, path: Path, line: int) -> str:
    if column not in row:
        found = ", ".join(sorted(row))
        raise UserError(
            f"{path}, line {line}: there is no column '{column}' (there are: {found}); name it with an option"
        )
    value = row[column]
    if not isinstance(value, (str, int)):
        raise UserError(f"{path}, line {line}: column '{column}' must hold text or a whole number")
    return str(value)


def _distinct_labels(raw_labels: Sequence[str], path: Path) -> tuple[str, ...]:
    distinct = set(raw_labels)
    if all(label.isdecimal() for label in distinct):
        names = tuple(str(index) for index in range(max(int(label) for label in distinct) + 1))
    else:
        names = tuple(sorted(distinct))
    if not 2 <= len(names) <= 1000:
        raise UserError(f"{path}: {len(names)} distinct labels; a classifier needs 2 to 1000 of them")
    return names


def _label_index(raw: str, names: Sequence[str], path: Path, line: int) -> int:
    if raw in names:
        return names.index(raw)
    if raw.isdecimal() and int(raw) < len(names):
        return int(raw)
    raise UserError(f"{path}, line {line}: label '{raw}' is none of {', '.join(names)}")
