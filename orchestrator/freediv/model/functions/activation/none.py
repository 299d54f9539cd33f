"""No activation: the floor that benchmarks measure against."""

from __future__ import annotations

from ..origin import Origin
from .function import ActivationFunction, Shrinking

NONE = ActivationFunction(
    name="none", origin=Origin("none", "the floor of benchmarks", retrained=True), apply=lambda x: x, bound=Shrinking()
)
