"""The cost table: for a terminal, and as JSON."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .costs import Figures, RunCost, block_name, cost_rows, party_figures, total
from .units import in_bytes, in_count, in_percent, in_seconds


def describe(run: RunCost) -> str:
    """What was run, in a line: `8 sentences in 1 request (8 of 32 word pieces), mean over 3 parties`."""
    one, parts = ("sentence", "word pieces") if run.architecture.padded else ("image", "rows")
    shapes = ", ".join(f"{request.batch} of {request.length} {parts}" for request in run.requests[:4])
    more = ", ..." if len(run.requests) > 4 else ""
    others = sum(request.run_requests > 1 for request in run.requests)
    shared = f"; {others} in runs shared with other requests, whose cost is counted too" if others else ""
    return (
        f"{_plural(run.sentences, one)} in {_plural(len(run.requests), 'request')} ({shapes}{more}), "
        f"mean over {run.parties} parties{shared}"
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def cost_table(run: RunCost) -> dict[str, Any]:
    """The table as JSON: `rows` and `mean_party` are means over parties, `parties` has one party each.

    Units: bytes, messages sent, seconds; shares are of the total, from 0 to 1.
    """
    rows = cost_rows(run)
    whole = total(rows)
    return {
        "sentences": run.sentences,
        "requests": len(run.requests),
        "rows": [
            {"layer": row.layer, "block": row.block, **_json(row.figures), **_shares(row.figures, whole)}
            for row in rows
        ],
        "mean_party": _json(whole),
        "parties": [{"rank": rank, **_json(figures)} for rank, figures in enumerate(party_figures(run))],
    }


def _json(figures: Figures) -> dict[str, float]:
    return {
        "sent_bytes": figures.sent_bytes,
        "received_bytes": figures.received_bytes,
        "messages": figures.messages,
        "seconds": figures.seconds,
    }


def _shares(part: Figures, whole: Figures) -> dict[str, float]:
    return {
        "share_of_bytes": part.sent_bytes / whole.sent_bytes if whole.sent_bytes else 0.0,
        "share_of_seconds": part.seconds / whole.seconds if whole.seconds else 0.0,
    }


def print_costs(run: RunCost, console: Console) -> None:
    """Print the table: a row per layer and block, the mean party's total, and all parties together."""
    rows = cost_rows(run)
    whole = total(rows)
    table = Table(
        title="What each layer cost",
        caption=describe(run),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,  # 80 columns hold it
    )
    table.add_column("layer", no_wrap=True)
    table.add_column("block", no_wrap=True)
    for heading in ("sent", "received", "messages", "seconds", "bytes %", "time %"):
        table.add_column(heading, justify="right", no_wrap=True)
    previous: object = ()
    for row in rows:
        name = row.layer_name if row.layer is not None and row.layer != previous else ""
        previous = row.layer
        table.add_row(name, block_name(row.block), *_cells(row.figures, whole))
    table.add_section()
    table.add_row("one party", "", *_cells(whole, whole), style="bold")
    every = sum(party_figures(run), Figures())
    table.add_row("all", "", in_bytes(every.sent_bytes), in_bytes(every.received_bytes), in_count(every.messages))
    console.print(table)


def _cells(figures: Figures, whole: Figures) -> tuple[str, ...]:
    return (
        in_bytes(figures.sent_bytes),
        in_bytes(figures.received_bytes),
        in_count(figures.messages),
        in_seconds(figures.seconds),
        in_percent(figures.sent_bytes, whole.sent_bytes).removesuffix(" %"),
        in_percent(figures.seconds, whole.seconds).removesuffix(" %"),
    )
