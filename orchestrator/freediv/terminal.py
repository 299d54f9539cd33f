"""What people read: texts as they are, whatever they hold, on any terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

from rich.console import Console
from rich.text import Text


def replace_what_cannot_be_shown() -> None:
    """From here on standard output and error show a character that their encoding lacks as `\\u2603`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """A text whose control characters, but for line breaks and tabs, are shown and not obeyed."""
    return "".join(
        repr(one)[1:-1] if one not in "\n\t" and unicodedata.category(one) in ("Cc", "Cs") else one for one in text
    )


class _Literal(Console):
    """A console on which a string is that string: no markup, no emoji, no escapes."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options | {"markup": False, "emoji": False})


def console(*, stderr: bool = False) -> Console:
    """Where tables and lines are printed. Style is given by `rich.text.Text`, never by what a string says."""
    return _Literal(stderr=stderr, markup=False, emoji=False, highlight=False)


@contextmanager
def status_line(text: str) -> Iterator[Callable[[str], None]]:
    """A line on standard error, while something is under way; yields what replaces its text."""
    with console(stderr=True).status(Text(printable(text))) as line:
        yield lambda text: line.update(Text(printable(text)))
