"""What a file's labels are called, and which classes they are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError

MOST_LABELS = 1000
_LONGEST = 200  # characters
_USUAL = 20  # classes; of more there should be two examples each
_MISSING = {"nan", "<na>", "null"}
_WHOLE = re.compile(r"-?[0-9]{1,18}")


def require_label(label: str, where: str, names: Sequence[str] | None) -> str:
    """A label as it stands in a file, without the space around it; `where` is the file and the line.

    Raises:
        UserError: there is none, it is what other tools write where there is none, or it is a text and no label.
    """
    label = label.strip()
    if not label or (label.lower() in _MISSING and label not in (names or ())):
        raise UserError(
            f"{where}: the label is missing{f' ({label})' if label else ''}; give it one, or remove the row"
        )
    if len(label) > _LONGEST:
        raise UserError(f"{where}: a label of {len(label)} characters; name the column of the labels (--label-column)")
    return label


def distinct_labels(labels: Sequence[str], path: Path) -> tuple[str, ...]:
    """The labels that occur, which are the classes: whole numbers in their order, others by the alphabet.

    Raises:
        UserError: there is one alone, there are too many, or two that differ in how they are written.
    """
    found = set(labels)
    if len(found) < 2:
        raise UserError(f"{path}: every row has the label '{labels[0]}'; a classifier needs 2 to {MOST_LABELS} of them")
    if len(found) > MOST_LABELS or (len(found) > _USUAL and 2 * len(found) > len(labels)):
        raise UserError(
            f"{path}: {len(found):,} distinct labels in {len(labels):,} rows; a classifier needs 2 to {MOST_LABELS} of "
            "them: name the column of the labels (--label-column), or put like ones together"
        )
    alike: dict[object, str] = {}
    for label in sorted(found):
        if alike.setdefault(_meaning(label), label) != label:
            raise UserError(
                f"{path}: the labels '{alike[_meaning(label)]}' and '{label}' differ only in how they are written; "
                "write them alike, or name both with --label-names"
            )
    numbers = all(map(_WHOLE.fullmatch, found))
    return tuple(sorted(found, key=int if numbers else None))


def require_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes that were given.

    Raises:
        UserError: one is empty, or given twice.
    """
    for place, name in enumerate(names):
        if not name or name in names[:place]:
            raise UserError(f"the labels {', '.join(names)}: {f'{name} is there twice' if name else 'one has no name'}")
    return tuple(names)


def label_index(label: str, names: Sequence[str], where: str, *, numbered: bool) -> int:
    """Which of `names` a label is; where `numbered`, and no name is a number itself, its number from 0 will do.

    Raises:
        UserError: none of them.
    """
    if label in names:
        return names.index(label)
    if numbered and label in map(str, range(len(names))) and not any(map(_WHOLE.fullmatch, names)):
        return int(label)
    raise UserError(f"{where}: label '{label}' is none of {', '.join(names)}")


def _meaning(label: str) -> object:
    try:
        return float(label)
    except ValueError:
        return " ".join(unicodedata.normalize("NFKC", label).casefold().split())
