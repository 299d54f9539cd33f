"""The page of an audit, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .finding import Finding


def print_page(findings: Sequence[Finding], model: str, console: Console) -> None:
    """Each attack: what it is, what was tried, what came of it, what to do about it."""
    console.print(Text(f"What could be learnt of {model} by asking", style="bold"))
    for finding in findings:
        console.print()
        console.print(Text(f"{finding.title} ({finding.source})", style="bold"))
        console.print(Padding(Text(finding.tried), (0, 0, 1, 2)))
        console.print(Padding(_table(finding), (0, 0, 1, 2)))
        for line in finding.lines:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        console.print(Padding(Text.assemble(("What to do: ", "bold"), finding.advice), (0, 0, 0, 2)))


def _table(finding: Finding) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    first, *others = finding.header
    table.add_column(Text(first))
    for name in others:
        table.add_column(Text(name), justify="right")
    for row in finding.rows:
        table.add_row(*map(Text, row))
    return table
