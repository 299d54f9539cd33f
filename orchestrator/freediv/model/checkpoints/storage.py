"""Weights as a file holds them: in single or half precision, or as whole numbers of 8 bits, a scale for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

Weights = Literal["float32", "float16", "int8"]

_SCALE = ".scale"
_LARGEST = 127
_SCALE_STEPS = 8  # in each octave: 7 bits of a weight and 4 of its scale make the 11 of a float16


def store(tensors: Mapping[str, np.ndarray], weights: Weights) -> dict[str, np.ndarray]:
    """What to write for tensors of any precision.

    `int8` is for matrices: each becomes whole numbers [rows, columns] and, under its name and `.scale`, a float32 for
    each row, such that their products are float16 numbers exactly. All that is no matrix is stored as float16.
    """
    if weights != "int8":
        return {name: np.array(value, weights, order="C") for name, value in tensors.items()}
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        if value.ndim == 2:
            found[name], found[name + _SCALE] = _round(np.asarray(value, np.float32))
        else:
            found[name] = np.array(value, np.float16, order="C")
    return found


def restore(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors that `store` was given, up to its rounding; others as they are.

    Raises:
        ValueError: a scale is not one for each row of a matrix.
    """
    found = dict(tensors)
    for name, value in tensors.items():
        if value.dtype == np.int8 and name + _SCALE in tensors:
            scale = found.pop(name + _SCALE)
            if value.ndim != 2 or scale.shape != value.shape[:1] or scale.dtype.kind != "f":
                raise ValueError(f"{name}{_SCALE} is not a number for each row of {name}")
            found[name] = value.astype(np.float32) * scale.astype(np.float32)[:, None]
    return found


def _round(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    largest = np.abs(matrix).max(axis=1)
    smallest = _LARGEST * np.finfo(np.float32).tiny  # rows below have no scale of full precision, and become zeros
    fraction, exponent = np.frexp(np.where(largest >= smallest, largest, 1.0) / _LARGEST)  # fraction in [0.5, 1)
    scale = np.ldexp(np.ceil(fraction * 2 * _SCALE_STEPS) / (2 * _SCALE_STEPS), exponent).astype(np.float32)
    return np.rint(matrix / scale[:, None]).astype(np.int8, order="C"), scale
