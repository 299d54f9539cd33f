"""Files of texts: lines, and rows of named columns. A line ends at `\\n` or `\\r\\n`, and at nothing else."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError

Row = dict[str, object]
_OF_CSV = {
    "unexpected end of data": "the file ends within a cell; is a quote not closed there?",
    "field larger than field limit": f"a cell of more than {csv.field_size_limit():,} characters; is a quote not "
    "closed there?",
    "new-line character": "a \\r within a cell; put the cell in quotes, or convert the line ends to \\n",
    "expected after": "something follows a closing quote; is a quote within a cell not doubled?",
}
"""What Python's reader complains of, in words for who wrote the file."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file without their ends, and their numbers from 1.

    Raises:
        UserError: it cannot be read, is in another encoding, or ends its lines otherwise.
    """
    return ((number, _without_end(line)) for number, line in enumerate(_lines(path), start=1))


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a `.tsv`, `.csv` (both with a header) or `.jsonl` file, each with the number of its first line.

    A TSV is taken literally (GLUE's files do not quote), a CSV as RFC 4180 has it. Blank lines are no rows.

    Raises:
        UserError: as `read_lines`; another ending, a line that is not what the ending says, two columns of one name.
    """
    readers = {".tsv": _delimited_rows, ".csv": _delimited_rows, ".jsonl": _json_rows}
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a directory; give a file")
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: data files end in .tsv, .csv or .jsonl, not '{path.suffix}'")
    if not path.is_file():
        raise UserError(f"{path}: is a pipe or a device, and rows are read twice; write them to a file first")
    return readers[path.suffix.lower()](path)


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    raise UserError(f"{path}, line {number}: holds a zero byte, which no text has; convert it to UTF-8")
                if number == 1 and not line.endswith("\n") and "\r" in _without_end(line):
                    raise UserError(f"{path}: its lines end in \\r alone; convert them to end in \\n")
                yield line
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); convert it to UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _delimited_rows(path: Path) -> Iterator[tuple[int, Row]]:
    rows = _cells_of_csv(path) if path.suffix.lower() == ".csv" else _cells_of_tsv(path)
    _, header = next(rows, (1, None))
    if header is None:
        raise UserError(f"{path} is empty; its first line must name the columns")
    if not header:
        raise UserError(f"{path}, line 1: is blank; it must name the columns")
    twice = [name for place, name in enumerate(header) if name and name in header[:place]]
    if twice:
        raise UserError(f"{path}, line 1: two columns are called '{twice[0]}'; rename one")
    for line, cells in rows:
        if not cells:
            continue
        if len(cells) != len(header):
            raise UserError(f"{path}, line {line}: {len(cells)} columns, the header has {len(header)}")
        if cells == header:
            raise UserError(f"{path}, line {line}: the header once more; remove the line")
        yield line, dict(zip(header, cells, strict=True))


def _cells_of_tsv(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path):
        yield number, line.split("\t") if line else []


def _cells_of_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader, number = csv.reader(_lines(path), strict=True), 1
    try:
        for cells in reader:
            yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        told = next((told for found, told in _OF_CSV.items() if found in str(error)), str(error))
        raise UserError(f"{path}, line {number}: {told}") from None


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({getattr(error, 'msg', error)})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: must be a JSON object with named columns")
        yield number, row


def _without_twins(pairs: list[tuple[str, object]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("one name stands there twice")
    return row
