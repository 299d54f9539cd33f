"""A number of a function that is calibrated and trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Rate = Literal["k", "c", "g", "quadratic"]
"""What a recipe calls the factor on a constant's learning rate (`constants` of a recipe)."""
RATES: tuple[str, ...] = get_args(Rate)


@dataclass(frozen=True)
class Constant:
    """Its value before any calibration, and how fast it learns."""

    start: float
    rate: Rate
