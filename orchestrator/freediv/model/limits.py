"""Limits for rows that no root bounds, and a sign where one is beyond its own.

A norm without a root costs no message and bounds nothing: what has grown goes round again, and in a ring it wraps
around into a wrong answer. So rows that leave such a norm have a limit, up to which the next values are known to fit. A
run goes on regardless, and at its end compares all rows with their limits at once. The first row beyond its limit is
still what it should be, since all before it kept theirs: whatever has become of the rest, that one tells.

**Which rows count.** The first, which the classifier reads, and every one whose mask is not zero: of the mask that
attention itself multiplies by, compared with zero from either side in the same messages; where rows are pooled, of the
weights that do it, too. The mask is its owner's, who may send any number for it, so nothing weighs a row's excess by
it: there is no threshold to move. A row that does not count leaves no trace in the others, as whatever it holds is
multiplied by zero.

**What is told** is one bit in place of an answer: whether some row that counts is beyond its limit, not which, nor how
far, nor how many, and nothing of what the label would have been.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from ..later import Array, jnp
from .functions.attention import ATTENTIONS
from .functions.norms import Observe, ignore
from .functions.pooling import Pool, of_pooled, rows_left, weights_name
from .stage import Apply, Dropout, Shape, Stage, keep

if TYPE_CHECKING:
    from .architecture import Architecture

LONG = 2.0**12
"""A row that is longer has a square for which the ring has no room, with 18 fraction bits: with more, a certificate
refuses limits. After attention, where heads add up, rows may be that long, and are compared with it as well, scaled."""
LARGEST = LONG**2 / 4
"""Of the squares of rows within their limits: differences must have room, too."""


@dataclass(frozen=True)
class Resolution:
    """Rows that were pooled alike, and what is compared of each.

    Attributes:
        pools: how they were pooled.
        limits: how many comparisons with limits.
        masks: what they are multiplied by; none: all are seen somewhere, and count.
        first: how many there are of them, from the first; None: all.
    """

    pools: tuple[Pool, ...]
    limits: int
    masks: tuple[str, ...]
    first: int | None = None

    @property
    def comparisons(self) -> int:
        """All of a row: a mask is compared from either side."""
        return self.limits + 2 * len(self.masks)

    def size(self, length: int) -> int:
        """All comparisons, of a text so long."""
        return self.comparisons * (rows_left(self.pools, length) if self.first is None else self.first)


def resolutions(architecture: Architecture) -> Iterator[Resolution]:
    """Of rows that some limit is for, in the order in which they come."""
    a, (embedding, *in_layers) = architecture, architecture.limited
    for number in range(len(a.pools) + 1):
        pools = a.pools[:number]
        layers = [layer for layer in range(a.layers) if len(a.pools_before(layer)) == number]
        reads = {ATTENTIONS[a.functions[layer].attention].reads for layer in layers}
        masks = set() if "nothing" in reads else {of_pooled(name, pools) for name in reads}
        if masks and number < len(a.pools):
            masks.add(weights_name(a.pools[: number + 1]))
        # After attention there are two.
        limits = {layer: 2 * in_layers[2 * layer] + in_layers[2 * layer + 1] for layer in layers}
        answering = limits.pop(a.layers - 1, 0) if (first := a.answers_from) else 0
        if all_rows := sum(limits.values()) + (embedding and not number):
            yield Resolution(pools, all_rows, tuple(sorted(masks)))
        if answering:
            yield Resolution(pools, answering, (), first)


def with_limits(architecture: Architecture, stages: Sequence[Stage]) -> list[Stage]:
    """Folded stages, of which the last also compares: its result [batch, logits + comparisons] has a text's logits, one
    after another, and then what `kept` wants compared with zero, an array [batch, rows] after another: of each of the
    `resolutions`, how far rows are beyond each limit, and of each mask itself and its negative.

    Each stage's rows have a name of their own, so that they are still there at the end.
    """
    *layers, classifier = stages
    named, before = [], "hidden"
    for stage in layers:
        inputs = tuple(before if name == "hidden" else name for name in stage.inputs)
        before = f"{stage.name}.rows"
        named.append(replace(stage, inputs=inputs, output=before))
    found = tuple(resolutions(architecture))
    compared = [
        [stage for stage in named if stage.limited and (stage.pools, stage.first) == (own.pools, own.first)]
        for own in found
    ]
    long = tuple(tuple(stage.block == "attention" for stage in some) for some in compared)
    masks = tuple(own.masks for own in found)
    read = ((*(stage.output for stage in some), *own.masks) for some, own in zip(compared, found, strict=True))
    last = replace(
        classifier,
        inputs=(before, *classifier.inputs[1:], *chain.from_iterable(read)),
        apply=partial(_classify_and_compare, classifier.apply, len(classifier.inputs) - 1, long, masks),
        signature=(classifier.signature, long, masks),
    )
    return [*named, last]


def apart(result: Array, shape: Shape) -> tuple[Array, Array]:
    """The last stage's logits [batch, *shape], and what it compares beside them [batch, comparisons], which is nothing
    where rows have no limits.
    """
    flat = result.reshape(len(result), -1)
    logits, compared = jnp.split(flat, [math.prod(shape)], axis=-1)
    return logits.reshape(len(result), *shape), compared


def kept(architecture: Architecture, fits: Array, wanted: Array) -> tuple[Array, Array]:
    """Whether all rows that count keep their limits, and what is wanted where they do.

    Products of bits, in as many rounds as two trees have levels: one over what is compared of a row, one over rows.

    Args:
        architecture: one with limits, or with ranges of pixels.
        fits: bool [batch, comparisons], whether what the last stage compares is at most zero.
        wanted: bool [batch].

    Returns:
        bool [batch], and bool [batch], which is false where some row is beyond its limit.
    """
    if architecture.patches is not None:  # of an image nothing is padding
        all_kept = _all_of(fits)
        return all_kept, all_kept & wanted
    short, hidden = _of_rows(architecture, fits, wanted)
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
        architecture: one with limits, or with ranges of pixels.
        compared: [batch, comparisons], what the last stage gives after the logits (`apart`).
    """
    fits = compared <= 0  # what is no number does not
    return kept(architecture, fits, jnp.ones(len(compared), bool))[0]


def _of_rows(architecture: Architecture, fits: Array, wanted: Array) -> tuple[Array, Array]:
    """Of all rows, those of one of the `resolutions` after another: whether they are short, bool [batch, rows, limits],
    and hidden, bool [batch, rows, signs], by all of these bits.

    A first row counts, whatever its mask; what is wanted takes the place of that in the first of all.
    """
    found = tuple(resolutions(architecture))
    count, batch = fits.shape[1], len(fits)
    length = next(n for n in range(1, count + 1) if count == sum(own.size(n) for own in found))
    all_short: list[Array] = []
    all_hidden: list[Array] = []
    start = 0
    for number, own in enumerate(found):
        part = fits[:, start : start + own.size(length)].reshape(batch, own.comparisons, -1)
        start += own.size(length)
        of_rows = jnp.swapaxes(part, 1, 2)
        if own.first is not None and all_short:  # a row that counts anyway: beside the first of those before
            others = jnp.ones((batch, all_short[-1].shape[1] - own.first, own.limits), bool)
            beside = jnp.concatenate([of_rows, others], axis=1)
            all_short[-1] = jnp.concatenate([all_short[-1], beside], axis=-1)
            continue
        short, hidden = of_rows[..., : own.limits], of_rows[..., own.limits :]
        if not own.masks:
            hidden = jnp.zeros_like(short[..., :1])
        one = jnp.zeros_like(hidden[:, :1, :1]) if number else wanted[:, None, None]
        first = jnp.concatenate([one, jnp.ones_like(hidden[:, :1, 1:])], axis=-1)
        all_short.append(short)
        all_hidden.append(jnp.concatenate([first, hidden[:, 1:]], axis=1))
    return _beneath(all_short), _beneath(all_hidden)


def _beneath(parts: Sequence[Array]) -> Array:
    """Bits [batch, rows, columns] one after another, the narrower filled up with what changes no product."""
    widest = max(part.shape[-1] for part in parts)
    filled = [
        jnp.concatenate([part, jnp.ones((*part.shape[:-1], widest - part.shape[-1]), bool)], axis=-1)
        if part.shape[-1] < widest
        else part
        for part in parts
    ]
    return jnp.concatenate(filled, axis=1) if len(filled) > 1 else filled[0]


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
    long: Sequence[Sequence[bool]],
    masks: Sequence[Sequence[str]],
    p: Mapping[str, Array],
    hidden: Array,
    *others: Array,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    logits = classify(p, hidden, *others[:own_inputs], dropout=dropout, observe=observe)
    compared: list[Array] = []
    given, done = iter(others[own_inputs:]), 0
    for some, own_masks in zip(long, masks, strict=True):
        rows = list(islice(given, len(some)))
        compared += _excesses(some, p["limits"][done : done + len(some)], rows, observe)
        compared += [sign for mask in islice(given, len(own_masks)) for sign in (mask, -mask)]
        done += len(some)
    return jnp.concatenate([logits.reshape(len(logits), -1), *compared], axis=-1)


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
