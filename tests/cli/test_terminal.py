"""What is printed is what a text says: no markup, no emoji, no escapes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from freediv import terminal
from rich.table import Table

TEXT = ":fire: [bold]loud[/bold] [/red] \x1b[2J\u2603"
SHOWN = ":fire: [bold]loud[/bold] [/red] \\x1b[2J\u2603"


def shown(thing: object) -> str:
    out = terminal.console()
    out.file, out.width = io.StringIO(), 100
    out.print(thing)
    return out.file.getvalue().strip()  # type: ignore[attr-defined]


def test_a_text_is_printed_as_it_is() -> None:
    assert shown(TEXT) == SHOWN
    table = Table("sentence", box=None, pad_edge=False, title=TEXT)
    table.add_row(TEXT)
    assert [line.strip() for line in shown(table).splitlines()] == [SHOWN, "sentence", SHOWN]


def test_a_status_line_takes_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.status_line(TEXT) as show:
        show("party 1: [/nothing] :fire:")


def test_no_module_has_a_console_of_its_own() -> None:
    package = Path(terminal.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert path.name == "terminal.py" or "Console(" not in text, path
        for line in text.splitlines():
            # What is under way may be a model's name, or a party's words.
            assert "TextColumn(" not in line or "percentage" in line or "markup=False" in line, f"{path}: {line}"
