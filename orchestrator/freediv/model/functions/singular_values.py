"""Largest singular values: how much longer a matrix makes a row at most."""

from __future__ import annotations

import math

import numpy as np


def spectral_norm(matrix: np.ndarray) -> float:
    """The largest singular value of a matrix."""
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[-1])))


def spectral_norm_of_product(x: np.ndarray, y: np.ndarray) -> float:
    """The largest singular value of x [n, k] times y [k, m], for a small k."""
    return math.sqrt(max(0.0, float(np.linalg.eigvals((x.T @ x) @ (y @ y.T)).real.max())))
