"""A load test as a picture: how soon requests were answered, and what the parties' memory did meanwhile."""

from __future__ import annotations

import matplotlib
import numpy as np

from ..files import NewFile
from .chart import save
from .load import Load

matplotlib.use("Agg")

from matplotlib import pyplot as plt


def draw(load: Load, title: str, picture: NewFile) -> None:
    """Latency of each request, latency by percentile, memory of each party; SVG or PNG by the file's suffix."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    seconds = [reply.seconds for reply in load.replies]
    panels[0].plot([reply.at for reply in load.replies], seconds, ".", markersize=3, color="#0b6e4f")
    panels[0].set(xlabel="seconds since the start", ylabel="seconds to an answer")
    percents = np.arange(0, 101)
    panels[1].plot(percents, np.percentile(seconds, percents) if seconds else percents * 0.0, color="#0b6e4f")
    panels[1].set(xlabel="percent of requests, answered within", ylabel="seconds")
    for rank in range(len(load.memory[0].by_rank) if load.memory else 0):
        held = [sample.by_rank[rank] / 2**20 for sample in load.memory]
        panels[2].plot([sample.at for sample in load.memory], held, label=f"party {rank}")
    panels[2].set(xlabel="seconds since the start", ylabel="MiB held")
    if load.memory:
        panels[2].legend(frameon=False)
    for panel in panels:
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    save(figure, picture)
