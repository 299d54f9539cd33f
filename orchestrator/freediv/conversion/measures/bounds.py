"""What no text can exceed: bounds of a folded model's values, from its weights alone.

A row that left a LayerNorm has length sqrt(hidden), whatever went in, and one that has a limit is within it where an
answer is given; where blocks normalise what they read, rows grow by what each adds at most. From there each stage's
values follow by the largest singular values of its weights, so that a bound holds for every text, hostile ones
included, as long as the stages before stay within theirs. Where a bound lies beyond the ring, nothing is said of the
stage: what was measured is all there is. What bounds a block, a function or a norm is said where that is
(`model.blocks`, `model.functions`); what does not say has no bound.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...model import Model, fold
from ...model.blocks import Block, Bound, Rows, blocks_of
from ...model.limits import LONG
from .headroom import bits_of, squares_per_variance


def stage_bounds(model: Model) -> dict[str, float]:
    """By stage, what no text takes the magnitudes beyond that `measure_headroom` looks for; infinite if unknown."""
    architecture = model.architecture
    folded = fold(architecture, model.parameters)
    rows = Rows(math.inf, False)
    found: dict[str, float] = {}
    limits = iter(np.sqrt(np.asarray(folded["classifier"].get("limits", ()))))
    squares_at_last = 0.0  # of rows, where they are compared with their limits
    *layers, last = blocks_of(architecture)
    for block in layers:
        own = {name: np.asarray(value, np.float64) for name, value in folded[block.name].items()}
        if block.kind == "embedding" and model.public_table is not None:
            own["word"] = model.public_table
        bound = block.bound(own, rows)
        rows = bound.left
        found[block.name] = max(_largest(block, bound), rows.length)
        if block.limited:
            scale = LONG if block.kind == "attention" else 1.0
            beyond = (rows.length / scale) ** 2
            rows = replace(rows, length=min(rows.length, 1.001 * float(next(limits))))  # 1.001: for rounding
            squares_at_last = max(squares_at_last, beyond, rows.length**2)
    own = {name: np.asarray(value, np.float64) for name, value in folded[last.name].items()}
    found[last.name] = max(_largest(last, last.bound(own, rows)), squares_at_last)
    return found


def _largest(block: Block, bound: Bound) -> float:
    """On the way through a block and its norm."""
    per_square = squares_per_variance(block.normed_width) / block.normed_width
    return max(bound.largest, per_square * bound.rooted**2)


def within_the_ring(bound: float) -> bool:
    """Whether a bound proves anything."""
    return bits_of(bound) > 0
