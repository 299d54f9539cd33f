"""Where layers are thinner than others, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ..errors import UserError
from .architecture import Architecture


def thinness(architecture: Architecture) -> str:
    """What layers have less of than the model's sizes say, and where rows become fewer; empty if nowhere."""
    narrower = (*_narrower(architecture, "heads"), *_narrower(architecture, "intermediate"))
    return "; ".join((*narrower, *_pools(architecture), *_dropped(architecture)))


def drops_tokens(architecture: Architecture) -> bool:
    """Whether layers leave patches out by what an image shows, which is for plaintext alone."""
    return any(own.keep is not None for own in architecture.sizes)


def require_all_rows(architecture: Architecture) -> None:
    """Refuse what only plaintext can do.

    Raises:
        UserError: the model drops tokens.
    """
    if drops_tokens(architecture):
        raise UserError(
            "the model drops tokens by attention, in plaintext alone: under MPC which of them would have to be "
            "compared in secret, or shown; take a model that keeps all"
        )


def _narrower(architecture: Architecture, field: str) -> Iterator[str]:
    words = {"heads": "heads", "intermediate": "in the feed-forward block"}
    layers: dict[int, list[str]] = defaultdict(list)
    for number, own in enumerate(architecture.sizes):
        if (count := getattr(own, field)) is not None and count < getattr(architecture, field):
            layers[count].append(str(number))
    for count, numbers in layers.items():
        yield f"{count} {words[field]} in layer{'s' * (len(numbers) > 1)} {', '.join(numbers)}"


def _pools(architecture: Architecture) -> Iterator[str]:
    for number, own in enumerate(architecture.sizes):
        if own.pool is not None:
            apart = ", the first apart" if own.pool.first_apart else ""
            yield f"after layer {number} each {own.pool.rows} neighbouring rows become one{apart}"


def _dropped(architecture: Architecture) -> Iterator[str]:
    for number, own in enumerate(architecture.sizes):
        if own.keep is not None:
            yield f"after attention in layer {number} the {100 * own.keep:g} % of patches that it weighs most stay"
