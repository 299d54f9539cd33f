"""Matrix products mod 2^64, against Python's integers."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from freediv.mpc.replicated import products
from freediv.mpc.replicated.products import MatrixProducts
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 129])


def random_words(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, shape, dtype=np.uint64)


def exact(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """By Python's unbounded integers."""
    product = np.matmul(left.astype(object), right.astype(object)) if left.size and right.size else None
    if product is None:
        return np.zeros((left.shape[0], left.shape[1], right.shape[2]), np.uint64)
    return (product % 2**64).astype(np.uint64)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([0, 1, 2, 5]), SIZES, SIZES, SIZES, st.sampled_from([1, 2, 3]), st.integers(0, 2**32))
def test_any_shape_on_any_number_of_threads(batch: int, rows: int, inner: int, columns: int, threads: int, seed: int):
    left, right = random_words(seed, batch, rows, inner), random_words(seed + 1, batch, inner, columns)
    engine = MatrixProducts(threads)
    np.testing.assert_array_equal(engine.multiply(left, engine.pack(right)), exact(left, right))


@pytest.mark.parametrize("shape", [(1, 128, 64, 700), (1, 300, 40, 257), (3, 129, 9, 256)])
def test_more_than_one_panel_and_block_of_rows(shape: tuple[int, int, int, int]):
    batch, rows, inner, columns = shape
    left, right = random_words(1, batch, rows, inner), random_words(2, batch, inner, columns)
    engine = MatrixProducts(2)
    np.testing.assert_array_equal(engine.multiply(left, engine.pack(right)), left @ right)


def test_operands_may_lie_in_memory_in_any_order():
    left, right = random_words(1, 6, 4, 5).transpose(1, 2, 0), random_words(2, 4, 9, 6).swapaxes(1, 2)
    engine = MatrixProducts()
    np.testing.assert_array_equal(engine.multiply(left, engine.pack(right)), exact(left, right))


def test_the_largest_ring_elements_wrap_around():
    ones = np.full((1, 4, 16), 2**64 - 1, np.uint64)
    engine = MatrixProducts()
    assert np.all(engine.multiply(ones, engine.pack(ones.swapaxes(1, 2))) == 16)


@pytest.mark.parametrize("left", [(1, 2, 4), (2, 2, 3), (2, 3)])
def test_shapes_that_do_not_fit_are_refused(left: tuple[int, ...]):
    engine = MatrixProducts()
    with pytest.raises(ValueError, match="cannot be multiplied"):
        engine.multiply(np.zeros(left, np.uint64), engine.pack(np.zeros((1, 3, 2), np.uint64)))


def test_packing_takes_no_more_room_than_the_matrix():
    right = random_words(0, 1, 768, 2304)
    assert MatrixProducts().pack(right).panels.nbytes == right.nbytes


def test_code_is_compiled_anew_where_no_directory_can_be_written(monkeypatch: pytest.MonkeyPatch):
    real = numba.njit

    def no_place(**options: object) -> object:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", no_place)
    doubled = products.compiled(lambda x: x + x)
    assert doubled(21) == 42
