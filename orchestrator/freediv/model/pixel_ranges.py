"""Whether numbers that an owner sent as patches are such as an image processor makes: where a model owner asks for it,
the last stage compares each with the range of its channel, beside its logits.

An owner may send any numbers of the ring in place of pixels. A model answers them, too: what it says there, no image
would have told, and its certificate is of images. With ranges, an image with a number beyond its own gets no answer, as
where rows have `limits`; and of it that alone is told, to its owner alone.

Each number is compared with either end of its range: x - b and a - x, in a ring of 2^64, are both at most zero for x
from a to b alone, whatever was sent. Rows of no image have to be zero. What fixed-point numbers round is allowed for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..later import Array, jnp
from .functions.norms import Observe, ignore
from .functions.patches import Patches
from .stage import Apply, Dropout, Stage, keep

if TYPE_CHECKING:
    from .architecture import Architecture

SLACK = 2.0**-10
"""Beyond a range: more than numbers lose to 10 fraction bits, and less than a step of a pixel's 255."""


def without_ranges(architecture: Architecture) -> Architecture:
    """The model as it is written down: whether pixels are compared is said where it is loaded."""
    if architecture.patches is None:
        return architecture
    return architecture.model_copy(update={"patches": architecture.patches.model_copy(update={"ranges": ()})})


def with_pixels_compared(patches: Patches, stages: Sequence[Stage]) -> list[Stage]:
    """Folded stages, of which the last gives [batch, logits + comparisons]: an image's logits, one after another, and
    then what has to be at most zero.
    """
    *others, classifier = stages
    last = replace(
        classifier,
        inputs=(*classifier.inputs, "rows"),
        apply=partial(_classify_and_compare, classifier.apply, patches),
        signature=(classifier.signature, patches),
    )
    return [*others, last]


def _classify_and_compare(
    classify: Apply,
    patches: Patches,
    p: Mapping[str, Array],
    *inputs: Array,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    *own, rows = inputs
    logits = classify(p, *own, dropout=dropout, observe=observe)
    return jnp.concatenate([logits.reshape(len(logits), -1), *_excesses(patches, rows)], axis=-1)


def _excesses(patches: Patches, rows: Array) -> list[Array]:
    """How far numbers are beyond either end of their ranges, [batch, numbers] each."""
    tokens = rows[:, : patches.tokens]
    pixels = rows[:, patches.tokens :].reshape(len(rows), -1, patches.channels, patches.row_size // patches.channels)
    least, largest = jnp.asarray(patches.ranges, rows.dtype).T[..., None]
    found = (pixels - (largest + SLACK), (least - SLACK) - pixels, tokens - SLACK, -SLACK - tokens)
    return [one.reshape(len(rows), -1) for one in found]
