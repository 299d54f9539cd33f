"""Weights as a file holds them."""

import numpy as np
import pytest
from freediv.model.checkpoints.storage import restore, store
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

ROWS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.floats(-100, 100, width=32)
)


@given(matrix=ROWS)
@example(matrix=np.array([[1e-45, 0.0]], np.float32))
@settings(deadline=None)
def test_whole_numbers_of_8_bits_are_as_near_as_a_scale_for_each_row_allows(matrix: np.ndarray) -> None:
    found = restore(store({"a": matrix}, "int8"))["a"]
    # A scale is at most an eighth larger than it need be.
    allowed = np.abs(matrix).max(axis=1, keepdims=True) / 127 * 9 / 8 / 2
    # Rows whose scale would be below `tiny`, where numbers have fewer bits, become zeros.
    assert (np.abs(found - matrix) <= np.maximum(allowed * (1 + 1e-6), 127 * np.finfo(np.float32).tiny)).all()


def test_what_they_stand_for_is_half_precision_exactly() -> None:
    matrix = np.random.default_rng(0).normal(0, 0.05, (200, 64)).astype(np.float32)
    found = restore(store({"a": matrix}, "int8"))["a"]
    np.testing.assert_array_equal(found.astype(np.float16).astype(np.float32), found)


@pytest.mark.parametrize("matrix", [np.zeros((2, 3), np.float32), np.eye(3, dtype=np.float32)])
def test_rows_of_zeros_stay_zeros(matrix: np.ndarray) -> None:
    found = restore(store({"a": matrix}, "int8"))["a"]
    np.testing.assert_array_equal(found == 0, matrix == 0)


def test_a_matrix_takes_a_byte_a_number_and_a_vector_stays_half_precision() -> None:
    stored = store({"a": np.ones((8, 64), np.float32), "b": np.ones(64, np.float32)}, "int8")
    assert {name: value.nbytes for name, value in stored.items()} == {"a": 512, "a.scale": 32, "b": 128}
    assert restore(stored).keys() == {"a", "b"}
