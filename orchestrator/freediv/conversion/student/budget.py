"""A student within a budget: what each slot of each layer is to have, by what it loses and what it costs.

Greedy: from the teacher as it is, the change that loses least for what it saves, again and again, until the layers cost
no more than the budget. Losses are as a criterion has them, as if they added up; costs those of `bench`, of a layer
with a choice beside one without, and after a pooling of all layers that follow. The last layer has prices of its own:
where the classifier reads one row, its neurons cost next to nothing, and its heads little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import yaml

from ...errors import UserError
from ...model import Architecture
from .choices import SLOTS, Choice, Slot
from .recipe import Recipe
from .sensitivity import Sensitivity

Criterion = Literal["divergence", "sqnr", "random", "depth"]
"""What a choice in a layer loses: how far the answers diverge; decibels that its block loses (Kim et al. 2024); any
number; ten times what it loses in the next layer, so that the last layers are changed first, each as far as it goes.
"""
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
_TOLD: Mapping[Criterion, str] = {
    "divergence": "divergence {:.4f}",
    "sqnr": "{:.1f} dB",
    "random": "at random",
    "depth": "by depth",
}
Place = tuple[int, Slot]
"""A layer, and a slot of it."""
Unit = Literal["MB", "messages", "seconds"]


@dataclass(frozen=True)
class Budget:
    """The most that all layers together may cost one party, in one request."""

    most: float
    unit: Unit

    @classmethod
    def of(cls, written: str) -> Budget:
        """From `60 MB`, `200 messages` or `1.5 seconds`.

        Raises:
            UserError: it is none of these.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?(MB|messages|seconds)", written.strip())
        if match is None:
            raise UserError(f"--budget {written}: give a number and MB, messages or seconds, as '60 MB'")
        return cls(float(match[1]), match[2])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Option:
    """What a slot may have, and its loss by layer."""

    choice: Choice
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Prices:
    """What a layer costs, in the unit of a budget.

    Attributes:
        layer: one with the default student's functions, and none thinner.
        pooled: the same after a pooling, as a share of that.
        own: what the teacher's functions cost more than the default's, by slot.
        more: what choices cost more or less than the default's.
    """

    layer: float
    pooled: float
    own: Mapping[Slot, float]
    more: Mapping[Choice, float]

    def of(self, chosen: Mapping[Slot, Option], pools: int) -> float:
        """A layer with these choices, and the teacher's functions otherwise, after so many poolings."""
        changes = (
            self.more[option.choice] if (option := chosen.get(slot)) is not None else self.own.get(slot, 0.0)
            for slot in SLOTS
            if slot != "pool"
        )
        return self.pooled**pools * (self.layer + sum(changes))


@dataclass(frozen=True)
class Plan:
    """What slots of layers have that is not the teacher's, what the layers then cost, and what is lost."""

    chosen: Mapping[Place, Option]
    cost: float
    loss: float


def losses(by: Criterion, found: Sequence[Sequence[Sensitivity]], seed: int) -> list[tuple[float, ...] | None]:
    """What each choice loses, by layer; None where the criterion has no say, as decibels of rows that are fewer."""
    random = np.random.default_rng(seed)
    told: list[tuple[float, ...] | None] = []
    for layers in found:
        own: list[float | None]
        if by == "divergence":
            own = [one.divergence for one in layers]
        elif by == "sqnr":
            own = [one.lost for one in layers]
        elif by == "random":
            own = [*random.random(len(layers))]
        else:
            own = [10.0 ** (len(layers) - 1 - one.layer) for one in layers]
        known = tuple(max(float(one), 0.0) for one in own if one is not None)
        told.append(known if len(known) == len(layers) else None)
    return told


def choose(prices: Sequence[Prices], options: Sequence[Option], budget: float) -> Plan:
    """The plan of a budget, where layers have these prices, from the first to the last.

    Raises:
        UserError: nothing is as cheap.
    """
    chosen: dict[Place, Option] = {}
    cost = _cost(prices, chosen)
    while cost > budget:
        best: tuple[float, Place, Option, float] | None = None
        for place, option, lost in _changes(options, len(prices), chosen):
            saved = cost - (now := _cost(prices, {**chosen, place: option}))
            if saved > 0 and (best is None or max(lost, 0.0) / saved < best[0]):
                best = (max(lost, 0.0) / saved, place, option, now)
        if best is None:
            raise UserError(f"--budget: the cheapest that these choices make costs {cost:.3g}; allow as much, or more")
        _, place, option, cost = best
        chosen[place] = option
    return Plan(chosen, cost, sum(option.losses[layer] for (layer, _), option in chosen.items()))


def _changes(
    options: Sequence[Option], layers: int, chosen: Mapping[Place, Option]
) -> Iterator[tuple[Place, Option, float]]:
    """What one slot could have instead, and how much more that loses."""
    for layer in range(layers):
        for option in options:
            place = (layer, option.choice.slot)
            before = chosen.get(place)
            if before is not option:
                yield place, option, option.losses[layer] - (before.losses[layer] if before is not None else 0.0)


def _cost(prices: Sequence[Prices], chosen: Mapping[Place, Option]) -> float:
    total, pools = 0.0, 0
    for layer, price in enumerate(prices):
        here = {slot: option for slot in SLOTS if (option := chosen.get((layer, slot))) is not None}
        total += price.of(here, pools)
        pools += "pool" in here
    return total


def heading(budget: Budget, by: Criterion) -> str:
    """The first line of a recipe of a budget."""
    return f"# For at most {budget.most:g} {budget.unit} of a party in all layers, chosen by {by}:"


def as_recipe(
    plan: Plan, teacher: Architecture, budget: Budget, by: Criterion, length: int, base: Recipe | None = None
) -> str:
    """A recipe's YAML, with the reasons as comments; costs are of `length` word pieces.

    What it says beside functions and sizes is as in `base`, or as recipes have it by default.
    """
    own = teacher.functions[-1]
    total = f", {plan.loss:.4g} lost by the sum of single layers, before any training." if by != "random" else "."
    lines = [
        heading(budget, by),
        f"# {plan.cost:.4g} by what single layers cost, with {length} word pieces{total}",
        "name: chosen",
        f"functions: {yaml.safe_dump(own.model_dump(), default_flow_style=True, width=1000).strip()}",
        "layers:",
    ]
    for layer in range(teacher.layers):
        found = [option for (number, _), option in sorted(plan.chosen.items()) if number == layer]
        lines += [f"  {layer}:"] if found else []
        for option in found:
            said = option.choice.as_layer().model_dump(exclude_none=True, exclude_defaults=True)
            value = yaml.safe_dump(said[option.choice.slot], default_flow_style=True).splitlines()[0]
            lines.append(f"    {option.choice.slot}: {value}  # {_TOLD[by].format(option.losses[layer])}")
    text = "\n".join(lines if plan.chosen else lines[:-1]) + "\n"
    if base is None:
        return text
    chosen_here = {"name", "functions", "sizes", "layers", "leave_out"}
    rest = base.model_dump(mode="json", exclude=chosen_here, exclude_unset=True)
    return text + (yaml.safe_dump(rest, sort_keys=False) if rest else "")
