"""docs/attacks.md: its rows, and what became of each of them in a run of the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parents[1] / "docs" / "attacks.md"
OUTCOMES = {"failed": "FAILED", "error": "FAILED", "passed": "held", "skipped": "skipped"}
"""In words, by pytest's; of a test with several parameters, the first that occurs counts."""


@dataclass(frozen=True)
class Attack:
    tried: str
    against: str
    held_by: str
    test: str


def read_attacks() -> list[Attack]:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [Attack(*row) for row in rows[2:]]


def outcomes(stats: Mapping[str, list[Any]]) -> dict[str, str]:
    """By test, from what pytest's terminal reporter counted."""
    found: dict[str, str] = {}
    for kind, word in OUTCOMES.items():
        for report in stats.get(kind, ()):
            found.setdefault(report.nodeid.partition("[")[0], word)
    return found


def summary(stats: Mapping[str, list[Any]], earlier: Mapping[str, str]) -> Iterator[str]:
    """The table's lines, each row with its outcome, of this run or by test of an earlier one."""
    attacks = read_attacks()
    found = {test: f"{word} earlier" for test, word in earlier.items()} | outcomes(stats)
    rows = [(found.get(one.test, "not run"), one.tried, one.against, one.held_by) for one in attacks]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        yield " | ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
    counts = Counter(row[0] for row in rows)
    yield f"{len(rows)} tried: " + ", ".join(f"{counts[word]} {word}" for word in counts)
