"""What is made of a text's mask: which rows there are, and what each of them counts, before and after each pooling."""

from __future__ import annotations

from .architecture import Architecture
from .functions.pooling import Pool, Rows, of_pooled, weights_name


def made_of_mask(architecture: Architecture, mask: Rows) -> dict[str, Rows]:
    """By activation name, all that stages of a model may read that is made of a mask [batch, length] alone."""
    found: dict[str, Rows] = {}
    for number in range(len(architecture.pools) + 1):
        before: tuple[Pool, ...] = architecture.pools[:number]
        found[of_pooled("mask", before)] = mask
        found[of_pooled("mask_over_length", before)] = mask / mask.sum(axis=-1, keepdims=True).clip(1)
        if architecture.window is not None:  # which has no pooling
            found["mask_over_window"] = architecture.window.mean(mask)
        if number < len(architecture.pools):
            pool = architecture.pools[number]
            found[weights_name((*before, pool))] = pool.weights(mask)
            mask = pool.mask(mask)
    return found
