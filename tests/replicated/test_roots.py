"""Layer normalisation as shares compute it, and its reciprocal root."""

import jax.numpy as jnp
import numpy as np
import pytest
from freediv.conversion.measures.headroom import CAPACITY_BITS, bits_of, squares_per_variance
from freediv.model.functions.norms.layernorm import standardise as plain
from freediv.mpc.cutting.roots import ERROR, HIGHEST, LOWEST, reciprocal_root, standardise
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import architecture

_FLOAT32 = 1e-6


@settings(deadline=None)
@given(st.lists(st.floats(LOWEST, HIGHEST), min_size=1, max_size=50), st.sampled_from([1.0, 0.75**0.5]))
def test_the_root_is_within_its_stated_error(exponents, scale):
    v = np.float32(2.0) ** np.array(exponents, np.float32)
    found = np.asarray(reciprocal_root(jnp.asarray(v), scale))
    assert np.abs(found * np.sqrt(v.astype(np.float64)) / scale - 1).max() < ERROR + _FLOAT32


def test_a_variance_of_zero_gives_a_bounded_root():
    found = np.asarray(reciprocal_root(jnp.asarray([0.0, 1e-12, 2.0 ** (LOWEST - 1)])))
    assert np.all(found > 0)
    assert found.max() < 100


@pytest.mark.parametrize("width", [2, 12, 64, 384, 513, 768])
@pytest.mark.parametrize("deviation", [0.05, 1.0, 30.0])
def test_a_norm_is_the_one_that_was_trained_whatever_the_width(width, deviation):
    rng = np.random.default_rng(width)
    x = rng.normal(0.0, deviation, (2, 5, width)).astype(np.float32)
    want = np.asarray(plain(jnp.asarray(x), 1e-12))
    found = np.asarray(standardise(jnp.asarray(x), jnp.float32(1e-12)))
    enough = (np.square(x).mean(-1) > 2.0 ** (LOWEST + 3))[..., None]
    np.testing.assert_allclose(np.where(enough, found, want), want, rtol=0, atol=2 * ERROR * np.abs(want).max())


@pytest.mark.parametrize("width", [2, 32, 256, 384, 512, 768])
def test_whatever_leaves_headroom_has_a_root(width):
    """A row so long that a bit of headroom is left; before, one at 2^15.4 in 384 had a root that was off by a third."""
    model = architecture(layers=0, hidden=width, heads=1)
    variance = 2.0**CAPACITY_BITS / squares_per_variance(model.hidden)
    x = np.random.default_rng(0).normal(0.0, variance**0.5, (1, 4, width)).astype(np.float32)
    x *= np.sqrt(0.5 * variance / np.square(x).mean(-1, keepdims=True))
    found, want = (np.asarray(one(jnp.asarray(x), jnp.float32(1e-12))) for one in (standardise, plain))
    np.testing.assert_allclose(found, want, rtol=3 * ERROR)
    assert bits_of(squares_per_variance(model.hidden) * float(np.square(x).mean(-1).max())) == pytest.approx(
        1, abs=0.01
    )
