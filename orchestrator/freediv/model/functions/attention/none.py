"""The scores themselves: no attention function at all, the floor that benchmarks measure against."""

from __future__ import annotations

from ..origin import Origin
from .function import AttentionFunction, WeightBound, plain

NONE = AttentionFunction(
    name="none",
    origin=Origin("none", "the floor of benchmarks", retrained=True),
    reads="nothing",
    weigh=lambda x, mask: x,
    affine=plain,
    sees_hidden=False,
    bound=WeightBound(lambda scores, positions: scores, lambda scores, positions: positions * scores),
)
