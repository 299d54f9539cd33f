"""Limits for rows that no root bounds, and a sign where one is beyond its own.

A norm without a root costs no message and bounds nothing: what has grown goes round again, and in a ring it wraps
around into a wrong answer. So rows that leave such a norm have a limit, up to which the next values are known to fit. A
run goes on regardless, and at its end compares all rows with their limits at once. The first row beyond its limit is
still what it should be, since all before it kept theirs: whatever has become of the rest, that one tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import jax.numpy as jnp

from .architecture import Architecture
from .normalisation import Observe, ignore
from .stage import Apply, Array, Dropout, Stage, keep

LONG = 2.0**12
"""A row that is longer has a square for which the ring has no room. After attention, where heads add up, rows may be
that long, and are compared with it as well, scaled."""
LARGEST = LONG**2 / 4
"""Of the squares of rows within their limits: differences must have room, too."""
_FAR_BITS = 23  # of what rows at padded positions may have beyond their limits, since nothing reads them


def with_limits(architecture: Architecture, stages: Sequence[Stage]) -> list[Stage]:
    """Folded stages, of which the last also compares: its result [batch, labels + comparisons * length] has the logits,
    and then what is positive where a row is beyond its limit.

    Each stage's rows have a name of their own, so that they are still there at the end.
    """
    *layers, classifier = stages
    kept, before = [], "hidden"
    for stage in layers:
        inputs = tuple(before if name == "hidden" else name for name in stage.inputs)
        before = f"{stage.name}.rows"
        kept.append(replace(stage, inputs=inputs, output=before))
    compared = [stage for stage, limited in zip(kept, architecture.limited, strict=True) if limited]
    long = tuple(stage.block == "attention" for stage in compared)
    last = replace(
        classifier,
        inputs=(before, "mask", *(stage.output for stage in compared)),
        apply=partial(_classify_and_compare, classifier.apply, long),
        signature=(classifier.signature, long),
    )
    return [*kept, last]


def _classify_and_compare(
    classify: Apply,
    long: Sequence[bool],
    p: Mapping[str, Array],
    hidden: Array,
    mask: Array,
    *rows: Array,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    logits = classify(p, hidden, dropout=dropout, observe=observe)
    padded = 1 - mask
    for _ in range(_FAR_BITS):
        padded = padded + padded  # exact, which a product by so large a number is not
    excesses = [excess - padded for excess in _excesses(long, p["limits"], rows, observe)]
    return jnp.concatenate([logits, *excesses], axis=-1)


def _excesses(long: Sequence[bool], limits: Array, rows: Sequence[Array], observe: Observe) -> Iterator[Array]:
    for number, own in enumerate(rows):
        if long[number]:
            scaled = own * (1 / LONG)
            squares = jnp.sum(scaled * scaled, axis=-1)
            observe("squares", squares)
            yield squares - 1
        squares = jnp.sum(own * own, axis=-1)
        observe("squares", squares)
        yield squares - limits[number]
