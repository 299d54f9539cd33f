"""Limits for rows that no root bounds, and a sign where one is beyond its own.

A norm without a root costs no message and bounds nothing: what has grown goes round again, and in a ring it wraps
around into a wrong answer. So rows that leave such a norm have a limit, up to which the next values are known to fit. A
run goes on regardless, and at its end compares all rows with their limits at once. The first row beyond its limit is
still what it should be, since all before it kept theirs: whatever has become of the rest, that one tells.

**Which rows count.** The first, which the classifier reads, and every one whose mask is not zero: of the mask that
attention itself multiplies by, compared with zero from either side in the same messages. The mask is its owner's, who
may send any number for it, so nothing weighs a row's excess by it: there is no threshold to move. A row that does not
count leaves no trace in the others, as whatever it holds is multiplied by zero.

**What is told** is one bit in place of an answer: whether some row that counts is beyond its limit, not which, nor how
far, nor how many, and nothing of what the label would have been.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..later import Array, jnp
from .functions.attention import ATTENTIONS
from .functions.norms import Observe, ignore
from .stage import Apply, Dropout, Shape, Stage, keep

if TYPE_CHECKING:
    from .architecture import Architecture

LONG = 2.0**12
"""A row that is longer has a square for which the ring has no room, with 18 fraction bits: with more, a certificate
refuses limits. After attention, where heads add up, rows may be that long, and are compared with it as well, scaled."""
LARGEST = LONG**2 / 4
"""Of the squares of rows within their limits: differences must have room, too."""


def with_limits(architecture: Architecture, stages: Sequence[Stage]) -> list[Stage]:
    """Folded stages, of which the last also compares: its result [batch, logits + comparisons * length] has a text's
    logits, one after another, and then what `kept` wants compared with zero, an array [batch, length] after another:
    how far rows are beyond each limit, and of each mask itself and its negative.

    Each stage's rows have a name of their own, so that they are still there at the end.
    """
    *layers, classifier = stages
    named, before = [], "hidden"
    for stage in layers:
        inputs = tuple(before if name == "hidden" else name for name in stage.inputs)
        before = f"{stage.name}.rows"
        named.append(replace(stage, inputs=inputs, output=before))
    compared = [stage for stage, limited in zip(named, architecture.limited, strict=True) if limited]
    long = tuple(stage.block == "attention" for stage in compared)
    last = replace(
        classifier,
        inputs=(before, *classifier.inputs[1:], *masks(architecture), *(stage.output for stage in compared)),
        apply=partial(_classify_and_compare, classifier.apply, len(classifier.inputs) - 1, long),
        signature=(classifier.signature, long, masks(architecture)),
    )
    return [*named, last]


def apart(result: Array, shape: Shape) -> tuple[Array, Array]:
    """The last stage's logits [batch, *shape], and what it compares beside them [batch, comparisons * length], which is
    nothing where rows have no limits.
    """
    flat = result.reshape(len(result), -1)
    logits, compared = jnp.split(flat, [math.prod(shape)], axis=-1)
    return logits.reshape(len(result), *shape), compared


def masks(architecture: Architecture) -> tuple[str, ...]:
    """The masks that attention uses; none if all rows are seen somewhere, and count."""
    reads = {ATTENTIONS[own.attention].reads for own in architecture.functions}
    return () if "nothing" in reads else tuple(sorted(reads))


def kept(architecture: Architecture, fits: Array, wanted: Array) -> tuple[Array, Array]:
    """Whether all rows that count keep their limits, and what is wanted where they do.

    Products of bits, in as many rounds as two trees have levels: one over what is compared of a row, one over rows.

    Args:
        architecture: one with limits.
        fits: bool [batch, comparisons * length], whether what the last stage compares is at most zero.
        wanted: bool [batch].

    Returns:
        bool [batch], and bool [batch], which is false where some row is beyond its limit.
    """
    limits = sum(architecture.limited) + sum(architecture.limited[1::2])  # after attention there are two
    signs = 2 * len(masks(architecture))
    of_rows = jnp.swapaxes(fits.reshape(len(fits), limits + signs, -1), 1, 2)
    short, hidden = of_rows[..., :limits], of_rows[..., limits:]
    if not signs:
        hidden = jnp.zeros_like(short[..., :1])
    # The first row counts, whatever its mask; what is wanted takes the place of that.
    first = jnp.concatenate([wanted[:, None, None], jnp.ones_like(hidden[:, :1, 1:])], axis=-1)
    hidden = jnp.concatenate([first, hidden[:, 1:]], axis=1)
    both, all_short, all_hidden = _all_of(
        jnp.stack(
            [
                jnp.concatenate([short, hidden], axis=-1),
                jnp.concatenate([short, jnp.ones_like(hidden)], axis=-1),
                jnp.concatenate([jnp.ones_like(short), hidden], axis=-1),
            ]
        )
    )
    others = (all_short ^ all_hidden ^ both)[:, 1:]  # short or hidden
    answers = [jnp.concatenate([own[:, :1], others], axis=-1) for own in (all_short, both)]
    all_kept, given = _all_of(jnp.stack(answers))
    return all_kept, given


def within_limits(architecture: Architecture, compared: Array) -> Array:
    """Whether all rows that count keep their limits, bool [batch].

    Args:
        architecture: one with limits.
        compared: [batch, comparisons * length], what the last stage gives after the logits (`apart`).
    """
    fits = compared <= 0  # what is no number does not
    return kept(architecture, fits, jnp.ones(len(compared), bool))[0]


def _all_of(bits: Array) -> Array:
    """Whether all are true along the last axis; products of two halves, each in one round."""
    while (count := bits.shape[-1]) > 1:
        half = count // 2
        pairs = bits[..., :half] & bits[..., half : 2 * half]
        bits = jnp.concatenate([pairs, bits[..., 2 * half :]], axis=-1)
    return bits[..., 0]


def _classify_and_compare(
    classify: Apply,
    own_inputs: int,
    long: Sequence[bool],
    p: Mapping[str, Array],
    hidden: Array,
    *others: Array,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    logits = classify(p, hidden, *others[:own_inputs], dropout=dropout, observe=observe)
    own_masks, rows = others[own_inputs : -len(long)], others[-len(long) :]
    signs = [sign for mask in own_masks for sign in (mask, -mask)]
    flat = logits.reshape(len(logits), -1)
    return jnp.concatenate([flat, *_excesses(long, p["limits"], rows, observe), *signs], axis=-1)


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
