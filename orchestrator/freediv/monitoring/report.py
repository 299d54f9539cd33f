"""One self-contained HTML page about what a private inference cost, for someone who has not read the paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..model.answers import answer_of
from ..model.thinness import thinness
from . import learned, units
from .charts import Chart, Series, svg
from .costs import CostRow, Figures, RunCost, block_name, cost_rows, link_share, party_figures, total

BLOCK_COLOURS = {"attention": 1, "feed_forward": 2, "embedding": 3, "classifier": 4, "pooling": 7}
SENT_COLOUR, RECEIVED_COLOUR = 5, 6


@dataclass(frozen=True)
class Sentence:
    """A data owner's text and its prediction, for a page that is theirs to keep."""

    text: str
    label: str


def render_report(run: RunCost, sentences: Sequence[Sentence] = ()) -> str:
    """The page as HTML. Texts and predictions are on it only if passed."""
    environment = Environment(
        loader=PackageLoader("freediv.monitoring", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(bytes=units.in_bytes, seconds=units.in_seconds, count=units.in_count, block=block_name)
    rows = cost_rows(run)
    parties = party_figures(run)
    answer, shown = answer_of(run.architecture).words, "as shown above" if sentences else learned.NOTHING
    page = learned.Learner("This page", (learned.NOTHING, shown, shown, "yes"))
    return environment.get_template("report.html.j2").render(
        run=run,
        answer=answer,
        learned=learned,
        learners=(*learned.who_learns(run.protocol, answer.given[run.output]), page),
        rows=rows,
        whole=total(rows),
        by_block=_by_block(rows),
        parties=parties,
        everyone=sum(parties, Figures()),
        link_share=link_share(run),
        charts=[(chart, svg(chart)) for chart in _charts(rows, parties)],
        functions=_functions(run),
        thinness=thinness(run.architecture),
        colours=BLOCK_COLOURS,
        sentences=sentences,
        percent=units.in_percent,
    )


def _functions(run: RunCost) -> dict[str, str]:
    """The functions in the model by kind, each name once in the order of layers."""

    def names(of: Iterable[str]) -> str:
        return ", ".join(dict.fromkeys(of)) or "none"

    functions = run.architecture.functions
    return {
        "attention": names(f.attention for f in functions),
        "activation": names(f.activation for f in functions),
        "normalisation": names(name for f in functions for name in (f.attention_norm, f.feed_forward_norm)),
    }


def _by_block(rows: tuple[CostRow, ...]) -> dict[str, Figures]:
    blocks: dict[str, Figures] = {}
    for row in rows:
        blocks[row.block] = blocks.get(row.block, Figures()) + row.figures
    return blocks


def _charts(rows: tuple[CostRow, ...], parties: tuple[Figures, ...]) -> list[Chart]:
    return [
        _by_layer(rows, "sent", "Bytes sent, by layer", lambda figures: figures.sent_bytes, units.in_bytes),
        _by_layer(rows, "time", "Seconds, by layer", lambda figures: figures.seconds, units.in_seconds),
        _by_layer(rows, "messages", "Messages sent, by layer", lambda figures: figures.messages, units.in_count),
        _by_party(parties),
    ]


def _by_layer(
    rows: tuple[CostRow, ...],
    identifier: str,
    title: str,
    value: Callable[[Figures], float],
    text: Callable[[float], str],
) -> Chart:
    layers = tuple(dict.fromkeys(row.layer_name for row in rows))
    series = []
    for block in dict.fromkeys(row.block for row in rows):
        values = {row.layer_name: value(row.figures) for row in rows if row.block == block}
        series.append(
            Series(block_name(block), BLOCK_COLOURS[block], tuple(values.get(layer, 0.0) for layer in layers))
        )
    largest = max(rows, key=lambda row: value(row.figures))
    description = (
        f"Horizontal bars for {len(layers)} parts of the model, mean over parties. The largest single block is "
        f"{block_name(largest.block)} of {largest.layer_name} with {text(value(largest.figures))}. "
        "Every figure is in the table below."
    )
    return Chart(f"chart-{identifier}", title, description, layers, tuple(series), text)


def _by_party(parties: tuple[Figures, ...]) -> Chart:
    sent = tuple(figures.sent_bytes for figures in parties)
    received = tuple(figures.received_bytes for figures in parties)
    names = tuple(f"party {rank}" for rank in range(len(parties)))
    description = "; ".join(
        f"{name} sent {units.in_bytes(out)} and received {units.in_bytes(back)}"
        for name, out, back in zip(names, sent, received, strict=True)
    )
    return Chart(
        "chart-parties",
        "Bytes sent and received, by party",
        f"Horizontal bars: {description}.",
        names,
        (Series("sent", SENT_COLOUR, sent), Series("received", RECEIVED_COLOUR, received)),
        units.in_bytes,
        stacked=False,
    )
