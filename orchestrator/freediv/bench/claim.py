"""The comparison that the paper makes: a model's own functions, the paper's and ours; how fast, and how good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..conversion.cards.card import model_of, own_accuracy, read_card
from ..conversion.measures.evaluation import Estimate
from ..errors import UserError
from ..model import LayerFunctions, read_model, resolve_model
from ..model.functions.activation import ACTIVATIONS
from ..model.functions.attention import ATTENTIONS
from ..model.functions.norms import NORMALISATIONS
from .peers import CLAIM, Claim
from .variants import Variant

VARIANTS = "baseline,paper-softmax-freediv,paper-2quad-freediv,ours"
EXACT = "its own"
"""A slot's function where nothing was retrained: approximations of it are it."""

Kinds = tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """A model's accuracy, by its card.

    Attributes:
        model: its directory's or its card's name, and its size.
        accuracy: in its own measure.
        data: what that was measured on, `dev` or `held out`.
    """

    model: str
    accuracy: Estimate
    data: str

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        return {"model": self.model, "data": self.data, **self.accuracy.to_dict()}


@dataclass(frozen=True)
class Beside:
    """What stands beside a variant's measurements: how good a model with its functions is, and what was published."""

    kept: Kept | None
    published: Claim | None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "accuracy": None if self.kept is None else self.kept.to_dict(),
            "published": None if self.published is None else asdict(self.published),
        }


def beside(variants: Sequence[Variant], cards: Sequence[str]) -> dict[str, Beside]:
    """What stands beside each variant, by name; of accuracies none where no card is of a model with its functions.

    Args:
        variants: whose functions are named.
        cards: directories of models, and cards that were put aside.

    Raises:
        UserError: a variant names no functions, there is no such card, it does not say the model's functions, no
            variant has them, or two cards have the same.
    """
    kinds = {variant.name: _kinds_of(variant) for variant in variants}
    found: dict[Kinds, Kept] = {}
    for card in cards:
        own, kept = _read(card)
        if own not in kinds.values():
            raise UserError(f"--card {card}: no row has its functions ({', '.join(own)}); see --variants")
        if own in found:
            raise UserError(f"--card {card}: has the functions of {found[own].model}; give one of them")
        found[own] = kept
    return {one.name: Beside(found.get(kinds[one.name]), _published(one)) for one in variants}


def _read(name: str) -> tuple[Kinds, Kept]:
    path = Path(name) if Path(name).is_file() else resolve_model(name)
    card = read_card(path)
    try:
        # What a model is, its directory knows best; cards of earlier commits do not say it.
        model = card["model"] if path.is_file() else model_of(read_model(path).architecture)
        layers = {_kinds(LayerFunctions(**own)) for own in model["functions"]}
        about = f"{int(model['layers'])} layers, {int(model['hidden'])} wide"
        thinner = str(model["thinner"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"--card {name}: does not say which functions the model has; name its directory") from None
    if thinner or len(layers) > 1:
        layers = {(thinner or "not those of all layers",)}
    measured_on = "dev" if card["accuracy"].get("dev") else "held out"
    shown = path.stem if path.is_file() else path.resolve().name
    return layers.pop(), Kept(f"{shown}: {about}", own_accuracy(card), measured_on)


def _kinds_of(variant: Variant) -> Kinds:
    if variant.functions is None:
        raise UserError(f"--variants: {variant.name} has the functions of a model, and here is none; name others")
    thinner = variant.thinned is not None
    return (f"as {variant.name}",) if thinner else _kinds(variant.functions)


def _kinds(functions: LayerFunctions) -> Kinds:
    """What decides a trained model's accuracy: the functions that it was trained again for."""
    slots = (
        (functions.attention, ATTENTIONS[functions.attention].origin),
        (functions.activation, ACTIVATIONS[functions.activation].origin),
        (functions.attention_norm, NORMALISATIONS[functions.attention_norm].origin),
        (functions.feed_forward_norm, NORMALISATIONS[functions.feed_forward_norm].origin),
    )
    return tuple(name if origin.retrained else EXACT for name, origin in slots)


def _published(variant: Variant) -> Claim | None:
    if variant.functions is None or variant.products != "spu":
        return None
    return CLAIM if ATTENTIONS[variant.functions.attention].origin.source == CLAIM.source else None
