"""The table of faults: for a terminal, and for a README."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .outcomes import Row

_HEADINGS = ("fault", "injected", "sent", "right", "refused", "wrong", "lost", "told", "back")


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """A row for each fault; below, what clients were told, what was left behind and what was left out."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)  # 80 columns hold it
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == "fault" else "right", no_wrap=True)
    for row in rows:
        if not row.skipped:
            table.add_row(*_cells(row), style="" if row.passed else "red")
    console.print(table)
    for line in _legend(rows):
        console.print(line, soft_wrap=True)


def markdown(rows: Sequence[Row]) -> str:
    """The same for a README."""
    lines = ["| " + " | ".join(_HEADINGS) + " |", "| --- |" + " ---: |" * (len(_HEADINGS) - 1)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows if not row.skipped]
    return "\n".join([*lines, "", *(f"- {line}" for line in _legend(rows))])


def _cells(row: Row) -> tuple[str, ...]:
    counts = (len(row.injections), row.requests, *(row.count(o) for o in ("right", "refused", "wrong", "lost")))
    told = f"{row.told_s:.1f} s" if row.told else "-"
    back = f"{row.recovery_s:.1f} s" if row.recovery_s is not None else "never"
    return (row.what, *map(str, counts), told, back)


def _legend(rows: Sequence[Row]) -> list[str]:
    lines = [f"{row.what}: “{row.told}”" for row in rows if row.told]
    lines += [_unnoticed(row) for row in rows if row.falsifies and row.injections and not row.told]
    lines += [f"{row.what}: LEFT BEHIND {', '.join(row.left)}" for row in rows if row.left]
    return lines + [f"{row.what}: left out: {row.skipped}" for row in rows if row.skipped]


def _unnoticed(row: Row) -> str:
    wrong = row.count("wrong")
    return (
        f"{row.what}: {wrong} of {wrong + row.count('right')} answers were wrong, and no party and no owner was told "
        "(who was refused came while it was started or stopped): parties are taken to be semi-honest, and nothing "
        "finds one that is not"
    )
