"""The integer functions of I-BERT, FQ-ViT and I-ViT, to the last bit, beside the published formulas in Python's own
integers, one number after another; and that they are near what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from freediv.conversion.quantisation import METHODS
from freediv.conversion.quantisation.wide import wide_numbers

SCALES = (0.011, 0.0703125, 0.33)


def exp_i_bert(x: int, scale: float) -> int:
    x0 = math.floor(-0.6931 / scale)
    b, c = math.floor(0.96963238 / 0.35815147 / scale), math.floor(1.0 / 0.35815147 / (scale * scale))
    x = max(x, 30 * x0)
    q = x // x0
    r = x - q * x0
    return (r * (r + b) + c) * 2 ** (30 - q)


def exp_i_vit(x: int, scale: float, steps: int) -> int:
    x = x + x // 2 - x // 16
    x0 = math.floor(-1.0 / scale)
    x = max(x, steps * x0)
    q = x // x0
    return math.floor((Fraction(x - q * x0, 2) - x0) * 2 ** (steps - q))


def softmax_i_bert(row: list[int], scale: float, bits: int) -> list[int]:
    one = exp_i_bert(0, scale) // 2**15
    e = [exp_i_bert(x - max(row), scale) // 2**15 * (2**15 - 1) // one for x in row]
    return [x * (2**32 // sum(e)) // 2 ** (32 - bits) for x in e]


def softmax_i_vit(row: list[int], scale: float, bits: int) -> list[int]:
    e = [exp_i_vit(x - max(row), scale, 15) for x in row]
    return [x * ((2**31 - 1) // min(sum(e), 2**31 - 1)) // 2**16 for x in e]


def softmax_fq_vit(row: list[int], scale: float, bits: int) -> list[int]:
    e = [exp_i_bert(x - max(row), scale) for x in row]
    found = []
    for x in e:
        quotient = math.floor(Fraction(sum(e), x) + Fraction(1, 2))
        code = quotient.bit_length() - 1
        if code and quotient - 2**code >= 2 ** (code - 1):
            code += 1
        found.append(2 ** (15 - code) if code < 16 else 0)
    return found


SOFTMAX = {"i-bert": softmax_i_bert, "i-vit": softmax_i_vit, "fq-vit": softmax_fq_vit}


def gelu_i_bert(row: list[int], scale: float, bits: int) -> list[int]:
    inner = scale * 2.0**-0.5
    b, c = math.floor(-1.769 / inner), math.floor(1.0 / (-0.2888 * inner * inner))
    half = math.floor(1.0 / (-0.2888 * inner * inner))
    return [x * (int(math.copysign(1, x)) * (x != 0) * ((min(abs(x), -b) + b) ** 2 + c) + half) for x in row]


def gelu_i_vit(row: list[int], scale: float, bits: int) -> list[int]:
    largest, inner = max(0, *row), scale * 1.702
    one, found = exp_i_vit(-largest, inner, 23), []
    for x in row:
        e = exp_i_vit(x - largest, inner, 23)
        found.append(x * (e * ((2**31 - 1) // min(e + one, 2**31 - 1)) // 2 ** (32 - bits)))
    return found


GELU = {"i-bert": gelu_i_bert, "i-vit": gelu_i_vit}


def centred(row: list[int]) -> list[int]:
    mean = round(Fraction(sum(row), len(row)))
    return [x - mean for x in row]


def after_root(
    y: list[int], root: int, numerator: int, weight: list[float], bias: list[float], across: float
) -> list[int]:
    return [
        y_i * (numerator // root) // 2 + math.floor(b * 2.0**30 / (w * across))
        for y_i, w, b in zip(y, weight, bias, strict=True)
    ]


def norm_i_bert(row: list[int], weight: list[float], bias: list[float], shift: int, scale: float) -> list[int]:
    y = centred(row)
    root = math.isqrt(sum((x // 2**shift) ** 2 for x in y)) * 2**shift
    return after_root(y, max(root, 1), 2**31, weight, bias, len(row) ** 0.5)


def norm_i_vit(row: list[int], weight: list[float], bias: list[float], shift: int, scale: float) -> list[int]:
    y, root = centred(row), 2**16
    squares = sum(x * x for x in y)
    for _ in range(10):
        root = max((root + squares // root) // 2, 1)
    return after_root(y, root, 2**31 - 1, weight, bias, len(row) ** 0.5)


def norm_fq_vit(row: list[int], weight: list[float], bias: list[float], shift: int, scale: float) -> list[int]:
    n, total = len(row), sum(row)
    spread = math.sqrt(max(n * sum(x * x for x in row) - total * total, 1))
    found = []
    for x, w, b in zip(row, weight, bias, strict=True):
        a = w * n / (spread * scale)
        _, exponent = math.frexp(max(abs(a), 2.0**-31))
        places = min(max(8 - exponent, 0), 31)
        m = min(max(math.floor(abs(a) * 2**places), 0), 255)
        offset = round((b - w * total / spread) / scale * 2**places)
        found.append(math.floor(Fraction((-m if a < 0 else m) * x + offset, 2**places) + Fraction(1, 2)))
    return found


NORM = {"i-bert": norm_i_bert, "i-vit": norm_i_vit, "fq-vit": norm_fq_vit}


def integers(bits: int, rows: int, width: int) -> np.ndarray:
    """Rows of all sizes, and their ends."""
    rng = np.random.default_rng(bits)
    most = 2 ** (bits - 1) - 1
    found = (rng.normal(size=(rows, width)) * most * rng.uniform(0.003, 0.5, (rows, 1))).clip(-most, most)
    found[0], found[1], found[2] = most, np.linspace(-most, most, width), -np.arange(width)
    return found.astype(np.int64)


def ran(function: Callable, x: np.ndarray, *others: object, **bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Compiled, as a model runs it."""
    with wide_numbers():
        values, scale = jax.jit(partial(function, **bits))(jnp.asarray(x), *others)
        return np.asarray(values), np.asarray(scale)


@pytest.mark.parametrize("name", SOFTMAX)
@pytest.mark.parametrize("bits", [8, 6])
def test_softmax_is_the_published_one_to_the_last_bit(name: str, bits: int) -> None:
    x, method = integers(bits, 40, 33), METHODS[name]
    for scale in SCALES:
        values, of = ran(method.softmax, x, np.float64(scale), np.ones(33, bool), bits=bits)
        assert values.tolist() == [SOFTMAX[name](row, scale, bits) for row in x.tolist()]
    exact = np.exp(x * 0.011) / np.exp(x * 0.011).sum(axis=-1, keepdims=True)
    values, of = ran(method.softmax, x, np.float64(0.011), np.ones(33, bool), bits=8)
    assert np.abs(values * of - exact).max() < {"i-bert": 0.01, "i-vit": 0.01, "fq-vit": 0.3 * exact.max()}[name]


@pytest.mark.parametrize("name", SOFTMAX)
def test_what_does_not_count_has_no_weight_and_changes_none(name: str) -> None:
    x = integers(8, 6, 12)
    real = np.arange(12) < 7
    values, _ = ran(METHODS[name].softmax, x, np.float64(0.07), real, bits=8)
    assert values[:, :7].tolist() == [SOFTMAX[name](row[:7], 0.07, 8) for row in x.tolist()]
    assert not values[:, 7:].any()


@pytest.mark.parametrize("name", GELU)
@pytest.mark.parametrize("bits", [8, 6])
def test_gelu_is_the_published_one_to_the_last_bit(name: str, bits: int) -> None:
    x, method = integers(bits, 40, 33), METHODS[name].gelu
    assert method is not None
    for scale in SCALES:
        values, _ = ran(method, x, np.float64(scale), bits=bits)
        assert values.tolist() == [GELU[name](row, scale, bits) for row in x.tolist()]
    near = x[np.abs(x * 0.0703125).max(axis=-1) < 3]  # beyond, ShiftGELU's 23 halvings end
    values, of = ran(method, near, np.float64(0.0703125), bits=8)
    exact = [[v * 0.5 * (1 + math.erf(v / 2**0.5)) for v in row] for row in (near * 0.0703125).tolist()]
    assert np.abs(values * of - np.array(exact)).max() < 0.15


@pytest.mark.parametrize("name", NORM)
def test_norms_are_the_published_ones_to_the_last_bit(name: str) -> None:
    x, rng = integers(16, 40, 48), np.random.default_rng(1)
    weight, bias = rng.normal(1, 0.4, 48), rng.normal(0, 0.5, 48)
    own = {"weight": weight, "bias": bias, "shift": np.int64(3), "scale": np.float64(0.05)}
    values, of = ran(METHODS[name].norm, x, np.float64(3e-4), own)
    wanted = [NORM[name](row, weight.tolist(), bias.tolist(), 3, 0.05) for row in x.tolist()]
    assert values.tolist() == wanted
    y = x - x.mean(axis=-1, keepdims=True)
    far = y.std(axis=-1) > 1000  # where ten steps of Newton's arrive
    exact = (y / np.maximum(y.std(axis=-1, keepdims=True), 1e-9) * weight + bias)[far]
    assert far.sum() > 20
    assert np.abs((values * of)[far] - exact).max() < {"i-bert": 0.01, "i-vit": 0.01, "fq-vit": 0.1}[name]


def test_numbers_are_as_wide_as_before_where_nothing_asks() -> None:
    with wide_numbers():
        assert jnp.arange(3).dtype == jnp.int64
    assert jnp.arange(3).dtype == jnp.int32
