"""What a layer costs that has a choice in one of its slots, run as every row of a benchmark, beside what it loses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from ..conversion.student.budget import Budget, Option, Prices
from ..conversion.student.choices import Choice
from ..conversion.student.sensitivity import Sensitivity
from ..model import Architecture, LayerFunctions, LayerSizes
from ..model.functions.pooling import Pool
from ..progress import Meter
from .measure import Measurement, Setting, measure
from .variants import Variant

BESIDE = LayerFunctions(attention="2quad-freediv", activation="quad")
"""The functions of the slots that no choice is about: the default student's."""


def costs_of(choices: Sequence[Choice], teacher: Architecture, length: int) -> Iterator[Measurement]:
    """A layer of a teacher's sizes with each choice, and first one without any, one after another; of a pooling, the
    layer that comes after it.
    """
    layer = teacher.model_copy(
        update={
            "layers": 1, "vocabulary": 16, "embedding": "public", "embedding_size": teacher.summed_width,
            "pad_token": 0, "separator_token": None, "positions": length, "row_limits": False,
        }
    )  # fmt: skip
    with Meter("costs", 1 + len(choices)) as meter:
        for number, choice in enumerate((None, *choices), start=1):
            functions, sizes, rows = BESIDE, LayerSizes(), length
            if choice is not None and choice.slot == "pool":
                rows = Pool(rows=int(choice.value)).length(length)
            elif choice is not None:
                own = choice.as_layer()
                functions = BESIDE.model_copy(update=own.functions)
                sizes = LayerSizes(heads=own.heads, intermediate=own.intermediate)
            name = "none" if choice is None else str(choice)
            variant = Variant(name, functions, "identity", "shares", "", {"sizes": (sizes,)})
            yield from measure(Setting(layer, rows, 1, part="layer"), [variant], 1)
            meter.update(number)


def priced(
    budget: Budget,
    choices: Sequence[Choice],
    own: Sequence[Choice],
    found: Sequence[list[Sensitivity]],
    measured: Sequence[Measurement],
) -> Prices:
    """Prices in a budget's unit; `measured` are `costs_of` all `choices`, and then of a teacher's own."""
    unit = {"MB": lambda m: m.sent_bytes / 1e6, "messages": lambda m: m.messages, "seconds": lambda m: m.seconds}
    layer, *costs = map(unit[budget.unit], measured)
    options, pooled = [], 1.0
    for choice, layers, cost in zip(choices, found, costs, strict=False):
        if choice.slot == "pool":
            pooled = cost / layer
        options.append(Option(choice, cost - layer, tuple(max(one.divergence, 0.0) for one in layers)))
    more = {choice.slot: cost - layer for choice, cost in zip(own, costs[len(choices) :], strict=True)}
    return Prices(layer, pooled, more, options)


def entries(
    choices: Sequence[Choice], found: Sequence[list[Sensitivity]], measured: Sequence[Measurement]
) -> list[dict[str, object]]:
    """For `--json`: an object for each choice; `measured` begins with `costs_of` the same, or is empty."""
    beside: list[Measurement | None] = [*measured[1 : 1 + len(choices)]] or [None] * len(choices)
    return [
        {
            "slot": choice.slot,
            "value": choice.value,
            "layers": [one.to_dict() for one in layers],
            "cost": None
            if cost is None
            else {"sent_bytes": cost.sent_bytes, "messages": cost.messages, "seconds": cost.seconds},
        }
        for choice, layers, cost in zip(choices, found, beside, strict=True)
    ]


def tables_of(
    choices: Sequence[Choice], found: Sequence[list[Sensitivity]], measured: Sequence[Measurement], length: int
) -> list[Table]:
    """What layers lose by each choice, with what a layer costs that has it, and how far answers diverge."""
    layers = [f"layer {number}" for number in range(len(found[0]) if found else 0)]
    lost = _table("Decibels that a block loses, and what a layer costs" if measured else "Decibels that a block loses")
    diverging = _table("Divergence of the answers, where one layer alone has the choice")
    prices = (f"MB, {length} pieces", "messages", "seconds") if measured else ()
    for table, names in ((lost, (*layers, *prices)), (diverging, layers)):
        for name in names:
            table.add_column(name, justify="right")
    if measured:
        lost.add_row("none", *("" for _ in layers), *_prices(measured[0]))
    for number, (choice, own) in enumerate(zip(choices, found, strict=True)):
        cost = _prices(measured[1 + number]) if measured else ()
        lost.add_row(str(choice), *("-" if one.lost is None else f"{one.lost:.1f}" for one in own), *cost)
        diverging.add_row(str(choice), *(f"{one.divergence:.4f}" for one in own))
    return [lost, diverging]


def _table(title: str) -> Table:
    return Table("choice", title=title, title_justify="left", box=None, pad_edge=False)


def _prices(cost: Measurement) -> tuple[str, str, str]:
    return f"{cost.sent_bytes / 1e6:.2f}", f"{cost.messages:.0f}", f"{cost.seconds:.3f}"
