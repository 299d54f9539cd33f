"""Where layers are thinner than others, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from .architecture import Architecture


def thinness(architecture: Architecture) -> str:
    """What layers have less of than the model's sizes say, and where rows become fewer; empty if nowhere."""
    return "; ".join(
        (*_narrower(architecture, "heads"), *_narrower(architecture, "intermediate"), *_pools(architecture))
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
