"""Benchmarks as pictures: bars for one run, points for accuracy beside cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from ..conversion.accuracy import Accuracy
from .measure import Measurement

matplotlib.use("Agg")

from matplotlib import pyplot as plt

_PANELS = (
    ("seconds", 1.0, "seconds"),
    ("sent_bytes", 1e6, "MB per party"),
    ("messages", 1.0, "messages per party"),
)
_OURS, _OTHERS = "#0b6e4f", "#8d99ae"


def bars(measurements: Sequence[Measurement], title: str, path: Path) -> None:
    """Seconds, bytes and messages of every variant, one panel each; SVG or PNG by the path's suffix."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 0.45 * len(measurements) + 1.6), sharey=True, layout="constrained")
    names = [m.variant for m in measurements]
    colours = [_OURS if name.startswith("ours") else _OTHERS for name in names]
    for panel, (field, unit, label) in zip(panels, _PANELS, strict=True):
        values = [getattr(m, field) / unit for m in measurements]
        drawn = panel.barh(names, values, color=colours)
        panel.bar_label(drawn, fmt=lambda v: f"{v:,.3g}" if v < 1000 else f"{v:,.0f}", padding=3, fontsize=9)
        panel.set_xlabel(label)
        panel.margins(x=0.16)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.suptitle(title)
    figure.savefig(path)
    plt.close(figure)


def points(measurements: Sequence[Measurement], accuracies: Mapping[str, Accuracy], path: Path) -> None:
    """Accuracy, with its 95 % interval, over bytes, messages and seconds; SVG or PNG by the path's suffix."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True, layout="constrained")
    for panel, (field, unit, label) in zip(panels, _PANELS, strict=True):
        for number, m in enumerate(measurements):
            own, x = accuracies[m.variant], getattr(m, field) / unit
            interval = [[100 * (own.accuracy - own.low)], [100 * (own.high - own.accuracy)]]
            panel.errorbar(
                [x], [100 * own.accuracy], yerr=interval, fmt="o", capsize=4, color=f"C{number}", label=m.variant
            )
        panel.set_xlabel(label)
        panel.set_xlim(left=0)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy, %")
    panels[-1].legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)
