"""No normalisation: the floor that benchmarks measure against."""

from __future__ import annotations

from ..origin import Origin
from .function import Normalisation

NONE = Normalisation(
    name="none",
    origin=Origin("none", "the floor of benchmarks", retrained=True),
    apply=lambda x, p, epsilon, observe: x,
    folded=lambda x, p, epsilon, observe: x,
    centres=False,
    scales=False,
    root=False,
    bounds=False,
    length=lambda own, length, width: length,
)
