"""Heads in one product: the same numbers, for fewer messages."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from freediv.secure.blocks import block_diagonal, with_others
from freediv.transformer.attention import multiply_heads
from hypothesis import given, settings
from hypothesis import strategies as st

from .parties import Parties, architecture, random_parameters, sentences


@settings(deadline=None, max_examples=25)
@given(*(st.integers(1, 4) for _ in range(5)))
def test_blocks_give_what_a_batch_of_products_gives(
    batch: int, heads: int, rows: int, inner: int, columns: int
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, heads, rows, inner)).astype(np.float32)
    y = random.normal(size=(batch, heads, inner, columns)).astype(np.float32)
    np.testing.assert_allclose(block_diagonal(jnp.asarray(x), jnp.asarray(y)), x @ y, atol=1e-5)


def test_a_function_within_another_is_replaced_and_nothing_else() -> None:
    @jax.jit
    def inner(x: jax.Array) -> jax.Array:
        return multiply_heads(x, jax.nn.relu(x)) + 1.0

    x = -jnp.ones((1, 1, 2, 2))
    replaced = with_others(lambda x: inner(x) * 2.0, {"multiply_heads": lambda x, y: x - 3.0})
    np.testing.assert_array_equal(replaced(x), (x - 3.0 + 1.0) * 2.0)
    np.testing.assert_array_equal(with_others(inner, {})(x), inner(x))


def test_a_model_gives_the_same_for_fewer_messages(tmp_path: Path) -> None:
    model = architecture(layers=1)
    token_ids, mask = sentences(model.vocabulary)
    answers, messages = [], []
    for products in ("spu", "spu-blocks"):
        with Parties(products=products) as parties:
            parties.join().load(tmp_path / products, model, random_parameters(model))
            results = parties.run(parties.inputs(token_ids, mask), *token_ids.shape)
            answers.append(parties.answer(results))
            messages.append(sum(result.link_sent_messages for result in results))
    assert np.abs(answers[0] - answers[1]).max() < 5e-3
    assert messages[1] < 0.9 * messages[0]
