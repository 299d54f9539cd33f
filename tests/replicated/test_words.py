"""What parties compute alone adds up to what they would compute together, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from freediv.mpc.replicated import words
from freediv.mpc.replicated.products import MatrixProducts
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from .conftest import RANKS, split

numbers = st.integers(-(2**63), 2**63 - 1)


def held(array: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """Each party's words of an int64 array, [2, *shape]."""
    parts = split(array, np.random.default_rng(seed))
    return [np.stack([parts[i], parts[(i + 1) % 3]]) for i in RANKS]


def total(summands: list[np.ndarray]) -> np.ndarray:
    assert all(s.shape[0] == 1 for s in summands)
    return (summands[0] + summands[1] + summands[2])[0]


def as_ring(array: np.ndarray) -> np.ndarray:
    return (array % 2**64).astype(np.uint64)


@given(numbers, numbers, st.integers(0, 2**32))
def test_products_add_up_to_twice_the_product(x: int, y: int, seed: int):
    a, b = held(np.array([x]), seed), held(np.array([y]), seed + 1)
    assert int(total([words.product(a[i], b[i], i) for i in RANKS])[0]) == 2 * x * y % 2**64
    assert int(total([words.square(a[i], i) for i in RANKS])[0]) == 2 * x * x % 2**64


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_matrix_products_of_any_dimensions_are_exact(data: st.DataObject):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=4, max_size=4))
    b, m, k, n = sizes
    left_order = data.draw(st.permutations(range(3)))
    right_order = data.draw(st.permutations(range(3)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = rng.integers(-(2**63), 2**63, (b, m, k)).transpose(left_order)
    y = rng.integers(-(2**63), 2**63, (b, k, n)).transpose(right_order)
    dims = (((left_order.index(2),), (right_order.index(1),)), ((left_order.index(0),), (right_order.index(0),)))
    p, q, engine = held(x, 1), held(y, 2), MatrixProducts()
    summands = [words.matrix_product(p[i], q[i], i, engine, dims) for i in RANKS]
    want = np.einsum(
        "bmk,bkn->bmn", x.transpose(np.argsort(left_order)).astype(object),
        y.transpose(np.argsort(right_order)).astype(object),
    )  # fmt: skip
    np.testing.assert_array_equal(total(summands), as_ring(2 * want))


def test_a_packed_weight_gives_what_its_words_give():
    rng = np.random.default_rng(3)
    x, w = rng.integers(-(2**40), 2**40, (3, 4, 10)), rng.integers(-(2**40), 2**40, (10, 7))
    dims = (((2,), (0,)), ((), ()))
    p, q, engine = held(x), held(w), MatrixProducts()
    plain = [words.matrix_product(p[i], q[i], i, engine, dims) for i in RANKS]
    packed = [words.matrix_product(p[i], words.pack(engine, q[i], i), i, engine, dims) for i in RANKS]
    np.testing.assert_array_equal(plain, packed)
    np.testing.assert_array_equal(total(plain), as_ring(2 * (x.astype(object) @ w.astype(object))))


def test_public_numbers_count_once():
    x = np.array([[1, -2, 3]])
    p, c = held(x), words.encode(np.array([[10.0, 20.0, 30.0]]), 0)
    result = [words.LINEAR["add"](p[i], words.lift(c, 2, i)) for i in RANKS]
    np.testing.assert_array_equal((result[0][0] + result[1][0] + result[2][0]).view(np.int64), [[11, 18, 33]])
    for i in RANKS:
        np.testing.assert_array_equal(result[i][1], result[(i + 1) % 3][0])


@pytest.mark.parametrize(
    ("name", "parameters", "shapes"),
    [
        ("reshape", {"new_sizes": (6, 4), "dimensions": None}, [(2, 3, 4)]),
        ("transpose", {"permutation": (2, 0, 1)}, [(2, 3, 4)]),
        ("squeeze", {"dimensions": (1,)}, [(2, 1, 4)]),
        ("expand_dims", {"dimensions": (0, 2)}, [(2, 3)]),
        ("broadcast_in_dim", {"shape": (5, 2, 3), "broadcast_dimensions": (1, 2), "sharding": None}, [(2, 1)]),
        ("slice", {"start_indices": (0, 1), "limit_indices": (2, 4), "strides": (1, 2)}, [(3, 5)]),
        ("rev", {"dimensions": (1,)}, [(3, 5)]),
        ("concatenate", {"dimension": 1}, [(2, 3), (2, 1), (2, 4)]),
        ("reduce_sum", {"axes": (0, 2)}, [(2, 3, 4)]),
        ("neg", {}, [(2, 3)]),
        ("sub", {}, [(2, 3), (2, 1)]),
        ("add", {}, [(2, 3), ()]),
    ],
)  # fmt: skip
def test_linear_operations_do_what_jax_does(name: str, parameters: dict, shapes: list[tuple[int, ...]]):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-100, 100, shape) for shape in shapes]
    references = {
        "squeeze": lax.squeeze,
        "expand_dims": lax.expand_dims,
        "broadcast_in_dim": lambda x, shape, broadcast_dimensions, sharding: lax.broadcast_in_dim(
            x, shape, broadcast_dimensions
        ),
        "concatenate": lambda *x, dimension: lax.concatenate(x, dimension),
        "reduce_sum": lambda x, axes: x.sum(axes),
        "rev": lax.rev,
        "slice": lax.slice,
        "reshape": lambda x, new_sizes, dimensions: lax.reshape(x, new_sizes),
        "transpose": lax.transpose,
        "neg": lambda x: -x,
        "sub": lambda x, y: x - y,
        "add": lambda x, y: x + y,
    }
    want = np.asarray(references[name](*(np.asarray(a, np.int32) for a in arrays), **parameters))
    shared = [held(a, seed) for seed, a in enumerate(arrays)]
    got = [words.LINEAR[name](*(s[i] for s in shared), **parameters) for i in RANKS]
    assert got[0].shape == (2, *want.shape)
    np.testing.assert_array_equal((got[0][0] + got[1][0] + got[2][0]).view(np.int64), want)
