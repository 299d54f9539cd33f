"""The page's charts: matplotlib SVG made part of an HTML page.

A chart takes its colours from the page's CSS variables (so it follows light and dark), its text stays text, and every
bar says its figure to a pointer or a screen reader. It refers to nothing outside the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Matplotlib wants colours; these stand for the page's and are replaced in the SVG.
_TEXT, _GRID = "#010101", "#020202"
_SERIES = tuple(f"#03030{number}" for number in range(1, 8))
_WIDTH, _ROW_HEIGHT, _MARGIN = 4.5, 0.28, 0.62  # inches: about a phone's width at the text's own size
_FONT_SIZE = 11


@dataclass(frozen=True)
class Series:
    """Values that share a colour: `colour` counts the page's series colours from 1."""

    name: str
    colour: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Horizontal bars: a row per name, the series stacked or beside each other."""

    identifier: str
    title: str
    description: str
    rows: tuple[str, ...]
    series: tuple[Series, ...]
    text: Callable[[float], str]
    stacked: bool = True


def svg(chart: Chart) -> str:
    """The chart as an `<svg>` element, for use inside HTML."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.identifier, "font.size": _FONT_SIZE}):
        figure, titles = _draw(chart)
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    return _inline(buffer.getvalue(), chart, titles)


def _draw(chart: Chart) -> tuple[Figure, dict[str, str]]:
    bars_per_row = 1 if chart.stacked else len(chart.series)
    height = _MARGIN + _ROW_HEIGHT * len(chart.rows) * (1 if chart.stacked else 0.7 * bars_per_row + 0.3)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    titles: dict[str, str] = {}
    left = [0.0] * len(chart.rows)
    thickness = 0.72 / bars_per_row
    for number, series in enumerate(chart.series):
        offset = 0.0 if chart.stacked else (number - (bars_per_row - 1) / 2) * thickness
        positions = [row + offset for row in range(len(chart.rows))]
        bars = axes.barh(
            positions, series.values, height=thickness * 0.94, left=left, color=_SERIES[series.colour - 1], linewidth=0
        )
        for row, (bar, value) in enumerate(zip(bars, series.values, strict=True)):
            if value:
                name = f"{chart.identifier}-bar-{number}-{row}"
                bar.set_gid(name)
                titles[name] = f"{chart.rows[row]}, {series.name}: {chart.text(value)}"
            else:
                bar.set_visible(False)
            if not chart.stacked:
                _label(axes, value, row + offset, chart.text(value))
        if chart.stacked:
            left = [so_far + value for so_far, value in zip(left, series.values, strict=True)]
    if chart.stacked:
        for row, value in enumerate(left):
            _label(axes, value, row, chart.text(value))
    _style(axes, chart)
    return figure, titles


def _label(axes: matplotlib.axes.Axes, value: float, position: float, text: str) -> None:
    axes.annotate(
        text,
        (value, position),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=_TEXT,
        annotation_clip=False,
    )


def _style(axes: matplotlib.axes.Axes, chart: Chart) -> None:
    axes.set_yticks(range(len(chart.rows)), chart.rows)
    axes.set_ylim(len(chart.rows) - 0.45, -0.55)
    axes.margins(x=0)  # the layout makes room for the labels at the bars' ends
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(chart.text(value)) if value else "0"))
    axes.tick_params(colors=_TEXT, length=0)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _tick(text: str) -> str:
    return re.sub(r"\.0+(?= )", "", text)


def _inline(document: str, chart: Chart, titles: dict[str, str]) -> str:
    """Make a standalone SVG part of a page: no prolog, no addresses, identifiers of its own, the page's colours."""
    prefix = chart.identifier
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r"font-family: [^;\"]*; ", "", body)  # the page's
    for number, colour in enumerate(_SERIES, start=1):
        body = body.replace(colour, f"var(--series-{number})")
    body = body.replace(_TEXT, "currentColor").replace(_GRID, "var(--grid)")

    own = set(re.findall(r'\bid="([^"]+)"', body)) - titles.keys()
    body = re.sub(r'\bid="([^"]+)"', lambda m: f'id="{prefix}-{m[1]}"' if m[1] in own else m[0], body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    for name, title in titles.items():
        body = body.replace(f'<g id="{name}">', f'<g id="{name}" class="bar"><title>{escape(title)}</title>')

    width, height = _view(body)
    opening = (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{prefix}-title {prefix}-description">'
        f'<title id="{prefix}-title">{escape(chart.title)}</title>'
        f'<desc id="{prefix}-description">{escape(chart.description)}</desc>'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1).strip()


def _view(body: str) -> Sequence[str]:
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    assert match is not None  # matplotlib always writes one
    return match.groups()
