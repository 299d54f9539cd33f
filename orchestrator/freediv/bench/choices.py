"""What a layer costs that has a choice in one of its slots, run as every row of a benchmark, beside what it loses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ..conversion.output import require_new
from ..conversion.student.budget import Budget, Criterion, Option, Prices, Unit, as_recipe, choose, heading, losses
from ..conversion.student.choices import Choice, choices_of, own_choices
from ..conversion.student.recipe import Recipe, read_recipe
from ..conversion.student.sensitivity import Sensitivity, measure_sensitivity
from ..conversion.texts.examples import Examples
from ..conversion.texts.pairing import as_read
from ..errors import UserError
from ..files import replace_file
from ..model import Architecture, Given, LayerFunctions, LayerSizes, Model, read_model, read_reader
from ..model.functions.pooling import Pool
from ..progress import Meter, say
from .measure import Measurement, Setting, measure
from .rows import read_written
from .variants import Variant

ROWS = 128
"""Texts that are drawn, if nobody says how many."""
LENGTH = 32
"""Of what choices cost, likewise."""
BESIDE = LayerFunctions(attention="2quad-freediv", activation="quad")
"""The functions of the slots that no choice is about: the default student's."""


def costs_of(choices: Sequence[Choice], teacher: Architecture, length: int) -> Iterator[list[Measurement]]:
    """A layer of a teacher's sizes with each choice, and first one without any, one after another; of a pooling, the
    layer that comes after it.

    Of each as it is where others follow, and as the last, which leaves what the classifier reads.
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
            variants = [  # of all rows, and of those that are read; once where these are the same
                Variant(pooling, functions, "identity", "shares", "", {"sizes": (sizes,), "pooling": pooling})
                for pooling in dict.fromkeys(("mean", teacher.pooling))
            ]
            usual, *last = measure(Setting(layer, rows, 1, part="layer"), variants, 1)
            yield [usual, *(last or [usual])]
            meter.update(number)


@dataclass(frozen=True)
class Price:
    """Of a layer, in one request, for one party."""

    sent_bytes: float
    messages: float
    seconds: float

    @classmethod
    def of(cls, measured: Measurement) -> Price:
        """As it was measured."""
        return cls(measured.sent_bytes, measured.messages, measured.seconds)

    def within(self, unit: Unit) -> float:
        """In the unit of a budget."""
        return {"MB": self.sent_bytes / 1e6, "messages": self.messages, "seconds": self.seconds}[unit]


@dataclass(frozen=True)
class LayerPrice:
    """Of a layer that others follow, and of the same as the last one."""

    usual: Price
    last: Price


@dataclass(frozen=True)
class Sensed:
    """What could be chosen in a teacher: what it loses, and what it costs.

    Attributes:
        choices, found: some of `choices_of`, and of each what it does to every layer.
        own: the teacher's functions, as if they were chosen.
        prices: of a layer without any choice, with each of `choices`, and with each of `own`; none: not measured.
        length: of the texts in prices, in word pieces.
    """

    choices: Sequence[Choice]
    found: Sequence[list[Sensitivity]]
    own: Sequence[Choice]
    prices: Sequence[LayerPrice]
    length: int

    def entries(self) -> list[dict[str, object]]:
        """For `--json`: an object for each choice; then, where there are prices, those of the default student's layer
        and of the teacher's own functions.
        """
        costs: list[dict[str, object] | None] = [
            asdict(one.usual) | {"last": asdict(one.last), "length": self.length} for one in self.prices
        ]
        none, *others = costs or [None]
        others = others or [None] * len(self.choices)
        rows: list[dict[str, object]] = [
            {"slot": one.slot, "value": one.value, "layers": [own.to_dict() for own in layers], "cost": cost}
            for one, layers, cost in zip(self.choices, self.found, others, strict=False)
        ]
        beside: list[dict[str, object]] = []
        if none is not None:
            beside = [{"slot": None, "value": None, "layers": [], "cost": none}]
            own_costs = others[len(self.choices) :]
            for one, cost in zip(self.own, own_costs, strict=True):
                beside.append({"slot": one.slot, "value": one.value, "layers": [], "cost": cost})
        return [*rows, *beside]

    def recipe(
        self, budget: Budget, by: Criterion, teacher: Architecture, base: Recipe | None = None, seed: int = 0
    ) -> str:
        """The YAML of a recipe within a budget.

        Raises:
            UserError: nothing that could be chosen is as cheap.
        """
        options = [
            Option(choice, lost)
            for choice, lost in zip(self.choices, losses(by, self.found, seed), strict=True)
            if lost is not None
        ]
        usual = self._prices([one.usual.within(budget.unit) for one in self.prices])
        last = self._prices([one.last.within(budget.unit) for one in self.prices])
        layers = [usual] * (teacher.layers - 1) + [last]
        return as_recipe(choose(layers, options, budget.most), teacher, budget, by, self.length, base)

    def _prices(self, costs: Sequence[float]) -> Prices:
        """From what a layer costs without any choice, with each of `choices`, and with each of `own`."""
        layer, *others = costs
        of = dict(zip((*self.choices, *self.own), others, strict=True))
        pooled = next((cost / layer for choice, cost in of.items() if choice.slot == "pool"), 1.0)
        more = {choice: of[choice] - layer for choice in self.choices}
        return Prices(layer, pooled, {choice.slot: of[choice] - layer for choice in self.own}, more)


def sense(
    teacher: Model, texts: Sequence[Given], length: int | None, rows: int = ROWS, slots: Sequence[str] = ()
) -> Sensed:
    """Measure what a teacher could have in its slots.

    Args:
        teacher: read from a directory, for texts such as these.
        texts: of which so many `rows` are drawn.
        length: in word pieces, of what choices cost; None: that is not measured.
        slots: these alone; none: all.

    Raises:
        UserError: it reads images, has fewer positions, or its layers are not alike.
    """
    a, directory = teacher.architecture, teacher.directory
    assert directory is not None
    if not a.padded:
        raise UserError(f"{directory}: reads images; what its layers can bear is measured on texts alone")
    if length is not None and length > a.positions:
        raise UserError(f"--length {length}: {directory} has {a.positions} positions")
    choices = [choice for choice in choices_of(a) if not slots or choice.slot in slots]
    drawn = np.random.default_rng(0).permutation(len(texts))[:rows]
    reader = read_reader(directory)
    sequences = reader.sequences([texts[row] for row in drawn], a)
    found, own = list(measure_sensitivity(teacher, reader, sequences, choices)), own_choices(a)
    measured = [] if length is None else costs_of([*choices, *own], a, length)
    prices = [LayerPrice(Price.of(usual), Price.of(last)) for usual, last in measured]
    return Sensed(choices, found, own, prices, length or 0)


def read_sensed(path: Path, teacher: Architecture) -> Sensed:
    """What `freediv sensitivity TEACHER --json` wrote, with costs.

    Raises:
        UserError: the file is none of these, or of another teacher.
    """
    known, own = list(choices_of(teacher)), own_choices(teacher)
    prices: dict[Choice, LayerPrice] = {}
    found: dict[Choice, list[Sensitivity]] = {}

    def parse(rows: list[dict[str, Any]]) -> tuple[LayerPrice, int]:
        lengths = set()
        for row in rows:
            choice, cost = Choice(row["slot"], row["value"]), row["cost"]
            lengths.add(int(cost["length"]))
            prices[choice] = LayerPrice(_price(cost), _price(cost["last"]))
            if row["layers"]:
                found[choice] = [_sensitivity(one) for one in row["layers"]]
        [length] = lengths
        return prices.pop(Choice(None, None)), length  # type: ignore[arg-type]

    otherwise = f"holds no costs of choices; `freediv sensitivity TEACHER --json {path}` writes them"
    none, length = read_written(path, parse, otherwise)
    layers = list(range(teacher.layers))
    if not {*own} <= prices.keys() or not all(
        choice in known and [one.layer for one in of] == layers for choice, of in found.items()
    ):
        raise UserError(f"{path}: was measured of another teacher; measure this one with `freediv sensitivity`")
    return Sensed(list(found), list(found.values()), own, [none, *(prices[one] for one in (*found, *own))], length)


def chosen_within(
    budget: Budget, by: Criterion, teacher: Path, examples: Examples, base: Recipe, out: Path, measured: Path | None
) -> Recipe:
    """The recipe of a budget, which it leaves beside a student `out`; one that an interrupted conversion left there is
    read again, as seconds are never the same twice.

    Args:
        budget, by: the budget, and the criterion.
        teacher: its directory.
        examples: to measure on.
        base: says what a recipe says beside functions and sizes.
        out: the student's directory, which must not be there yet.
        measured: what `sensitivity` wrote; None: it is measured.

    Raises:
        UserError: another recipe is in the way, or as `sense`, `read_sensed` and `Sensed.recipe`.
    """
    require_new(out)
    path, first = out.with_name(f"{out.name}.yaml"), heading(budget, by)
    if path.exists():
        if path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] != first:
            raise UserError(f"{path}: is there already, and not of this budget; move it away")
        say(f"as chosen before: {path}")
        return read_recipe(path)
    model = as_read(read_model(teacher), examples.texts, examples.source)
    found = read_sensed(measured, model.architecture) if measured else sense(model, examples.texts, LENGTH)
    replace_file(path, found.recipe(budget, by, model.architecture, base, base.seed))
    say(f"chosen: {path}")
    return read_recipe(path)


def _sensitivity(row: Any) -> Sensitivity:
    lost, alone = (None if row[name] is None else float(row[name]) for name in ("lost", "alone"))
    return Sensitivity(int(row["layer"]), row["slot"], row["value"], lost, alone, float(row["divergence"]))


def _price(cost: Any) -> Price:
    return Price(*(float(cost[name]) for name in ("sent_bytes", "messages", "seconds")))


def tables_of(sensed: Sensed) -> list[Table]:
    """What layers lose by each choice, with what a layer costs that has it, and how far answers diverge."""
    found, priced = sensed.found, bool(sensed.prices)
    layers = [f"layer {number}" for number in range(len(found[0]) if found else 0)]
    lost = _table("Decibels that a block loses, and what a layer costs" if priced else "Decibels that a block loses")
    diverging = _table("Divergence of the answers, where one layer alone has the choice")
    names_of_prices = (f"MB, {sensed.length} pieces", "messages", "seconds", "MB, last layer") if priced else ()
    for table, names in ((lost, (*layers, *names_of_prices)), (diverging, layers)):
        for name in names:
            table.add_column(name, justify="right")
    if priced:
        lost.add_row("none", *("" for _ in layers), *_prices(sensed.prices[0]))
    for number, (choice, own) in enumerate(zip(sensed.choices, found, strict=True)):
        cost = _prices(sensed.prices[1 + number]) if priced else ()
        lost.add_row(str(choice), *("-" if one.lost is None else f"{one.lost:.1f}" for one in own), *cost)
        diverging.add_row(str(choice), *(f"{one.divergence:.4f}" for one in own))
    return [lost, diverging]


def _table(title: str) -> Table:
    return Table("choice", title=title, title_justify="left", box=None, pad_edge=False)


def _prices(cost: LayerPrice) -> tuple[str, ...]:
    usual, last = cost.usual, (cost.last.sent_bytes / 1e6)
    return f"{usual.sent_bytes / 1e6:.2f}", f"{usual.messages:.0f}", f"{usual.seconds:.3f}", f"{last:.2f}"
