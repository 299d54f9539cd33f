"""Layer normalisation as shares compute it, and its reciprocal root."""

import jax.numpy as jnp
import numpy as np
import pytest
from freediv.secure.roots import ERROR, HIGHEST, LOWEST, reciprocal_root, standardise
from freediv.transformer.normalisation import standardise as plain
from hypothesis import given, settings
from hypothesis import strategies as st

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
