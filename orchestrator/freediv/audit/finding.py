"""What an attack came to: what was tried, what it measured, what to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """An attack's part of the page.

    Attributes:
        name: of the attack, as the command line has it.
        title: what it is, for people.
        source: who published it.
        tried: what was done here, in a sentence or two.
        header, rows: a table of what was measured.
        lines: what else was measured, a line each.
        advice: what to do about it.
        measured: the numbers, for `--json`.
    """

    name: str
    title: str
    source: str
    tried: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    advice: str
    lines: tuple[str, ...] = ()
    measured: dict[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        about = {"attack": self.name, "source": self.source, "tried": self.tried, "advice": self.advice}
        return about | {"measured": self.measured}


def percent(share: float, digits: int = 1) -> str:
    """A share for people; as many digits as a small one needs."""
    value = 100 * share
    if 0 < abs(value) < 10**-digits:
        digits = -math.floor(math.log10(abs(value)))
    return f"{value:.{digits}f} %"


def columns(rows: Sequence[Sequence[object]]) -> tuple[tuple[str, ...], ...]:
    """A table's rows as texts."""
    return tuple(tuple(str(cell) for cell in row) for row in rows)
