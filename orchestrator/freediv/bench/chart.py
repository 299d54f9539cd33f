"""Benchmarks as pictures: bars for one run, points for accuracy beside cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import matplotlib

from ..conversion.measures.evaluation import Estimate
from ..conversion.student.sensitivity import Sensitivity
from ..files import NewFile
from .claim import Beside
from .measure import Measurement
from .peers import CLAIM

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_PANELS = (
    ("seconds", 1.0, "seconds"),
    ("sent_bytes", 1e6, "MB per party"),
    ("messages", 1.0, "messages per party"),
)
_OURS, _OTHERS = "#0b6e4f", "#8d99ae"


def save(figure: Figure, picture: NewFile) -> None:
    """Write a figure to its file, and forget it.

    Raises:
        WriteError: the disk does not take it.
    """
    content = BytesIO()
    figure.savefig(content, format=picture.path.suffix[1:].lower())
    plt.close(figure)
    picture.write(content.getvalue())


def bars(measurements: Sequence[Measurement], title: str, picture: NewFile) -> None:
    """Seconds, bytes and messages of every variant, one panel each; SVG or PNG by the file's suffix."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 0.45 * len(measurements) + 1.6), sharey=True, layout="constrained")
    _costs(measurements, panels)
    figure.suptitle(title)
    save(figure, picture)


def claim(measurements: Sequence[Measurement], found: Mapping[str, Beside], title: str, picture: NewFile) -> None:
    """The same, with a mark where the published time would lie, and accuracies with their 95 % intervals."""
    figure, panels = plt.subplots(1, 4, figsize=(17, 0.45 * len(measurements) + 1.9), sharey=True, layout="constrained")
    _costs(measurements, panels[:3])
    published = measurements[0].seconds / CLAIM.times_faster
    panels[0].axvline(published, color="black", linestyle="--", linewidth=1)
    panels[0].set_xlabel(f"seconds; dashed: {CLAIM.times_faster:.2f}x, as {CLAIM.source} published")
    for m in measurements:
        own = found[m.variant.partition(",")[0]].kept
        if own is not None:
            one = own.accuracy
            interval = [[100 * (one.value - one.low)], [100 * (one.high - one.value)]]
            panels[3].errorbar([100 * one.value], [m.variant], xerr=interval, fmt="o", capsize=4, color=_colour(m))
    panels[3].set_xlabel("accuracy by its card, %")
    panels[3].spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    save(figure, picture)


def _costs(measurements: Sequence[Measurement], panels: Sequence[Axes]) -> None:
    names = [m.variant for m in measurements]
    for panel, (field, unit, label) in zip(panels, _PANELS, strict=True):
        values = [getattr(m, field) / unit for m in measurements]
        drawn = panel.barh(names, values, color=[_colour(m) for m in measurements])
        panel.bar_label(drawn, fmt=lambda v: f"{v:,.3g}" if v < 1000 else f"{v:,.0f}", padding=3, fontsize=9)
        panel.set_xlabel(label)
        panel.margins(x=0.16)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()


def _colour(measured: Measurement) -> str:
    return _OURS if measured.variant.startswith("ours") else _OTHERS


def sensitivities(names: Sequence[str], found: Sequence[Sequence[Sensitivity]], picture: NewFile) -> None:
    """Of each choice what layers lose, a point each: decibels, and the divergence of answers; SVG or PNG by the file's
    suffix.
    """
    figure, panels = plt.subplots(1, 2, figsize=(13, 0.4 * len(names) + 1.6), sharey=True, layout="constrained")
    for panel, field, label in zip(panels, ("lost", "divergence"), ("decibels lost", "divergence"), strict=True):
        for row, layers in enumerate(found):
            for one in layers:
                if (value := getattr(one, field)) is not None:
                    panel.plot([value], [row], "o", color=f"C{one.layer % 10}")
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel(label)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.suptitle("One colour a layer, from the first (blue) on")
    save(figure, picture)


def points(measurements: Sequence[Measurement], accuracies: Mapping[str, Estimate], picture: NewFile) -> None:
    """Accuracy, with its 95 % interval, over bytes, messages and seconds; SVG or PNG by the file's suffix."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True, layout="constrained")
    for panel, (field, unit, label) in zip(panels, _PANELS, strict=True):
        for number, m in enumerate(measurements):
            own, x = accuracies[m.variant], getattr(m, field) / unit
            interval = [[100 * (own.value - own.low)], [100 * (own.high - own.value)]]
            panel.errorbar(
                [x], [100 * own.value], yerr=interval, fmt="o", capsize=4, color=f"C{number}", label=m.variant
            )
        panel.set_xlabel(label)
        panel.set_xlim(left=0)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy, %")
    panels[-1].legend(frameon=False)
    save(figure, picture)
