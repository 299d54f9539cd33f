"""Benchmarks as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from rich.table import Table

from ..conversion.cards.card import Section
from ..conversion.cards.card import table as markdown
from ..conversion.measures.evaluation import Estimate
from .claim import Beside
from .measure import Measurement
from .network import Network
from .peers import CLAIM


def costs(measurements: Sequence[Measurement], title: str, part: Literal["model", "layer", "embedding"]) -> Table:
    """What each variant cost, and how many times less that is than the first. Memory is of whole processes."""
    about = "MB and messages: sent by a party; x: how many times less than the first row; kernel: bytes beyond those"
    table = _table(
        f"{title}\n{about} counted here", "seconds", "±", "MB", "messages", "time", "bytes", "msgs", "kernel"
    )
    if part != "layer":
        for name in ("request MB", "all parties MB", "peak MB", "of shares"):
            table.add_column(name, justify="right")
    first = measurements[0]
    for m in measurements:
        ratios = (first.seconds / m.seconds, first.sent_bytes / m.sent_bytes, first.messages / m.messages)
        row = [
            m.variant, f"{m.seconds:.3f}", f"{m.spread:.0%}", f"{m.sent_bytes / 1e6:.1f}", f"{m.messages:.0f}",
            *(f"{ratio:.2f}x" for ratio in ratios), f"{m.wire_overhead:+.1%}",
        ]  # fmt: skip
        if part != "layer":
            peak = max(m.peak_memory_bytes)
            row += [
                f"{m.request_bytes / 1e6:.2f}", f"{m.sent_bytes * len(m.peak_memory_bytes) / 1e6:.0f}",
                f"{peak / 1e6:.0f}", f"{peak / m.share_bytes:.2f}x",
            ]  # fmt: skip
        table.add_row(*row)
    return table


def cost_section(measured: Measurement, length: int) -> Section:
    """What a model costs, for its card."""
    found = measured.to_dict()
    rows = [
        [f"{what}", f"{found[f'{key}sent_bytes'] / 1e6:.2f}", f"{found[f'{key}messages']:.0f}", seconds]  # type: ignore[operator]
        for what, key, seconds in (("one encoder layer", "layer_", ""), ("everything", "", f"{measured.seconds:.2f}"))
    ]
    about = f"One text of {length} word pieces through three parties on one machine; sent by one party.\n\n"
    return "What it costs", about + markdown(["", "MB", "messages", "seconds"], rows)


def shaped(free: Sequence[Measurement], measured: Sequence[Measurement], network: Network) -> Table:
    """The same variants over a slower network, beside what a model of it says."""
    about = f"{network.name}: {network.bandwidth / 1e6:g} Mbit/s a party, {network.rtt * 1e3:g} ms round trip"
    title = f"{about}\nmodel: loopback seconds + bytes / bandwidth + messages x half a round trip"
    table = _table(title, "seconds", "±", "time", "model", "model's error")
    for alone, m in zip(free, measured, strict=True):
        model = network.predict(alone.seconds, m.sent_bytes, m.messages)
        ratio, error = measured[0].seconds / m.seconds, model / m.seconds - 1
        table.add_row(
            m.variant, f"{m.seconds:.3f}", f"{m.spread:.0%}", f"{ratio:.2f}x", f"{model:.3f}", f"{error:+.0%}"
        )
    return table


def accuracy_beside_cost(measurements: Sequence[Measurement], accuracies: Mapping[str, Estimate]) -> Table:
    """Models, the most accurate first; a star: no other is as accurate and sends as few bytes and messages."""
    table = _table("accuracies by the models' cards", "accuracy, 95 %", "MB", "messages", "seconds", "")
    for m in sorted(measurements, key=lambda m: -accuracies[m.variant].value):
        beaten = any(
            accuracies[o.variant].value >= accuracies[m.variant].value
            and (o.sent_bytes, o.messages) != (m.sent_bytes, m.messages)
            and o.sent_bytes <= m.sent_bytes
            and o.messages <= m.messages
            for o in measurements
        )
        table.add_row(
            m.variant, str(accuracies[m.variant]), f"{m.sent_bytes / 1e6:.1f}", f"{m.messages:.0f}",
            f"{m.seconds:.3f}", "" if beaten else "*",
        )  # fmt: skip
    return table


def claim(measurements: Sequence[Measurement], found: Mapping[str, Beside], title: str) -> Table:
    """What each variant cost, how many times less than the first, what was published of that, and how good a model is
    that has its functions.
    """
    first = measurements[0]
    title += (
        f"\nMB and messages: sent by a party; x: how many times less than the first row\npublished: {CLAIM.source}, "
        f"{CLAIM.of}, accuracy {CLAIM.accuracy}\naccuracies: by cards, of models as large as it says beside them"
    )
    costs = ("seconds", "±", "MB", "messages", "time", "published", "bytes", "msgs")
    table = _table(title, *costs, "accuracy, 95 %", "by the card of")
    for m in measurements:
        own = found[m.variant.partition(",")[0]]  # lanes are no other functions
        time, *ratios = first.seconds / m.seconds, first.sent_bytes / m.sent_bytes, first.messages / m.messages
        accuracy, card = "-", "-"
        if own.kept is not None:
            accuracy = f"{own.kept.accuracy}" + ("" if own.kept.data == "dev" else f", {own.kept.data}")
            card = own.kept.model
        table.add_row(
            m.variant, f"{m.seconds:.3f}", f"{m.spread:.0%}", f"{m.sent_bytes / 1e6:.1f}", f"{m.messages:.0f}",
            f"{time:.2f}x", "-" if own.published is None else f"{own.published.times_faster:.2f}x",
            *(f"{ratio:.2f}x" for ratio in ratios), accuracy, card,
        )  # fmt: skip
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    return table
