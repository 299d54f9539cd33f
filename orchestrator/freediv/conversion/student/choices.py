"""What a recipe can choose, slot by slot: functions from the registries, and how thin a layer may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ...errors import UserError
from ...model import Architecture
from ...model.answers import answer_of
from ...model.functions.activation import ACTIVATIONS
from ...model.functions.attention import ATTENTIONS
from ...model.functions.norms import NORMALISATIONS
from .recipe import LayerChoice, Recipe

Slot = Literal["attention", "activation", "attention_norm", "feed_forward_norm", "heads", "intermediate", "pool"]
SLOTS: tuple[Slot, ...] = get_args(Slot)
_REGISTRIES: Mapping[Slot, Mapping[str, object]] = {
    "attention": ATTENTIONS,
    "activation": ACTIVATIONS,
    "attention_norm": NORMALISATIONS,
    "feed_forward_norm": NORMALISATIONS,
}
_SHARES = (2, 4)
_POOL = 2


@dataclass(frozen=True)
class Choice:
    """Something else in a slot of a layer than the teacher has there.

    Attributes:
        slot: as `LayerChoice` calls it.
        value: a function's name, how many heads or neurons are left, or how many rows become one.
    """

    slot: Slot
    value: str | int

    def __str__(self) -> str:
        """As a table names it."""
        return f"{self.slot} {self.value}"

    @property
    def stage(self) -> str:
        """The block of a layer after which its rows are others."""
        blocks = {"attention": "attention", "attention_norm": "attention", "heads": "attention", "pool": "pooling"}
        return blocks.get(self.slot, "feed_forward")

    def as_layer(self) -> LayerChoice:
        """What a recipe says of a layer that has it."""
        value: Any = {"rows": self.value} if self.slot == "pool" else self.value
        return LayerChoice.model_validate({self.slot: value})

    def as_recipe(self, teacher: Architecture) -> Recipe:
        """The recipe of a student that has it in every layer, and is its teacher otherwise."""
        return Recipe(
            name=str(self),
            functions=teacher.functions[-1],  # a first layer may lack a norm
            layers=dict.fromkeys(range(teacher.layers), self.as_layer()),
            embedding_norm=teacher.embedding_norm,
            pooler=teacher.pooler,
            row_limits=False,
        )


def own_choices(teacher: Architecture) -> list[Choice]:
    """The functions that a teacher has, slot by slot, as if they were chosen."""
    own = teacher.functions[-1]
    return [Choice(slot, name) for slot in _REGISTRIES if (name := getattr(own, slot)) != "none"]


def choices_of(teacher: Architecture) -> Iterator[Choice]:
    """All that a teacher leaves open, slot by slot.

    Raises:
        UserError: its layers are not alike, or there is none.
    """
    if len(set(teacher.functions[1:])) > 1 or teacher.sizes or not teacher.layers:
        raise UserError("the model's layers are not alike; measure the teacher that it was converted from")
    own = teacher.functions[-1]
    for slot, registry in _REGISTRIES.items():
        if (there := getattr(own, slot)) != "none":
            yield from (Choice(slot, name) for name in registry if name not in (there, "none"))
    widths: Mapping[Slot, int] = {"heads": teacher.heads, "intermediate": teacher.intermediate}
    for slot, most in widths.items():
        for count in dict.fromkeys(most // share for share in _SHARES):
            if 0 < count < most:
                yield Choice(slot, count)
    if teacher.window is None and not answer_of(teacher).each_piece:
        yield Choice("pool", _POOL)
