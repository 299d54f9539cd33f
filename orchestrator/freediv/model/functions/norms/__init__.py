"""Normalisations: layer normalisation, with its root and without. Each in a file of its own; here by their names."""

from __future__ import annotations

from .function import Normalisation, Observe, centred, ignore
from .layernorm import LAYERNORM
from .layernorm_constant import LAYERNORM_CONSTANT
from .none import NONE

__all__ = ["NORMALISATIONS", "Normalisation", "Observe", "centred", "ignore"]

NORMALISATIONS: dict[str, Normalisation] = {one.name: one for one in (LAYERNORM, LAYERNORM_CONSTANT, NONE)}
