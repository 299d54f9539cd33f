"""What students learned, as a picture: agreement with the model over the number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib

from ..bench.chart import save
from ..files import NewFile
from .finding import Finding

matplotlib.use("Agg")

from matplotlib import pyplot as plt

_COLOURS = {"extraction": "#0b6e4f", "continuous": "#c9622c"}


def draw(findings: Sequence[Finding], title: str, picture: NewFile) -> None:
    """A line for each attack that has a student, with 95 % intervals, above what nobody has to ask for; SVG or PNG by
    the file's suffix.
    """
    figure, panel = plt.subplots(figsize=(7, 4.2), layout="constrained")
    asked: set[int] = set()
    for finding in findings:
        measured: dict[str, Any] = finding.measured
        if finding.name not in _COLOURS:
            continue
        queries = [one["queries"] for one in measured["learned"]]
        asked |= set(queries)
        values = [100 * one["agreement"] for one in measured["learned"]]
        errors = [[abs(100 * one["interval"][side] - v) for one, v in zip(measured["learned"], values, strict=True)]
                  for side in (0, 1)]  # fmt: skip
        panel.errorbar(queries, values, yerr=errors, fmt="o-", capsize=4, color=_COLOURS[finding.name],
                       label=finding.title)  # fmt: skip
        if "without_asking" in measured:
            own = measured["without_asking"]
            panel.axhline(100 * own["most_common_label"], color="#8d99ae", linestyle=":", label="the most common label")
            if own["own_labels"] is not None:
                panel.axhline(100 * own["own_labels"]["agreement"], color="#8d99ae", linestyle="--",
                              label="the attacker's own labels")  # fmt: skip
    panel.set(xscale="log", xlabel="queries", ylabel="gives the model's label, %, with 95 % intervals", title=title)
    panel.set_xticks(sorted(asked), [f"{number:,}" for number in sorted(asked)], minor=False)
    panel.minorticks_off()
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, loc="upper left")  # where nothing is, as lines rise from below on the left
    save(figure, picture)
