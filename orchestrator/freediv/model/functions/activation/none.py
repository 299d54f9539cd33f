"""No activation: the floor that benchmarks measure against."""

from __future__ import annotations

from .function import ActivationFunction, Shrinking

NONE = ActivationFunction(name="none", apply=lambda x: x, bound=Shrinking())
