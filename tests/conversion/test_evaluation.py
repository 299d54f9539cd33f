"""Accuracy and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from freediv.conversion.measures.evaluation import accuracy_of, evaluate_answers
from freediv.model import read_model
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest


@given(count=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_interval_is_wilsons_as_scipy_computes_it(count: int, share: float) -> None:
    correct = round(share * count)
    found = accuracy_of(correct, count)
    wanted = binomtest(correct, count).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_lengths_fall_into_the_bucket_that_holds_them() -> None:
    predictions, labels = np.array([0, 1, 1, 0, 1]), np.array([0, 1, 0, 0, 0])
    found = evaluate_answers(read_model("demo").architecture, predictions, labels, [3, 16, 17, 32, 700])
    assert {length: (a.correct, a.count) for length, a in found.by_length.items()} == {
        16: (2, 2),
        32: (1, 2),
        512: (0, 1),
    }
    assert found.overall.value == 3 / 5
