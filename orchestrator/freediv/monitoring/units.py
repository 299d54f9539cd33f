"""Bytes, seconds and counts as people read them."""

from __future__ import annotations


def in_bytes(count: float) -> str:
    """Bytes in decimal units and three significant figures: `999 B`, `1.20 kB`, `52.4 MB`."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{_three_figures(value)} {unit}"


def in_seconds(seconds: float) -> str:
    """Seconds: `0.8 ms`, `45 ms`, `1.24 s`, `2 min 05 s`."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{_three_figures(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def in_count(count: float) -> str:
    """A count, or a mean of counts: `1,234`; one decimal where it is not whole and small."""
    return f"{count:,.1f}" if count < 100 and abs(count - round(count)) > 0.05 else f"{count:,.0f}"


def in_percent(part: float, whole: float) -> str:
    """A share: `12 %`, `0.4 %`."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def _three_figures(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
