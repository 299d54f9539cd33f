"""Heads in one product: the same numbers, for fewer messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from freediv.model.blocks import multiply_heads
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.norms.layernorm import standardise
from freediv.mpc.block_diagonal import block_diagonal
from freediv.mpc.cutting import tracing
from freediv.mpc.cutting.jaxprs import instead, with_others
from freediv.mpc.engine import ENGINES
from freediv.mpc.spu.programs import secure_stages, stage_function
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
    replaced = with_others(lambda x: inner(x) * 2.0, instead({multiply_heads: lambda x, y: x - 3.0}))
    np.testing.assert_array_equal(replaced(x), (x - 3.0 + 1.0) * 2.0)
    np.testing.assert_array_equal(with_others(inner, {})(x), inner(x))


CALLS = {"multiply_heads": {"attention": 2}, "standardise": {"embedding": 1, "attention": 1, "feed_forward": 1}}
"""How often a stage calls the functions of the model that an engine has others for, by block."""


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
@pytest.mark.parametrize("function", [multiply_heads, standardise], ids=sorted(CALLS))
def test_functions_that_an_engine_has_others_for_are_found_in_the_model(function: Any, attention: str) -> None:
    """Not found, they would run all the same: by other programs, at another cost, without a sign."""
    assert CALLS.keys() == tracing._ON_SHARES.keys() | ENGINES["spu-blocks"].keywords["others"].keys()
    model = architecture(layers=1, attention=attention)
    for stage in secure_stages(model, "logits"):
        called = []

        def other(*arrays: jax.Array, called: list[int] = called) -> Any:
            called.append(len(arrays))
            return function.__wrapped__(*arrays)

        own, shapes = stage_function(model, stage, 1, 16)
        jax.make_jaxpr(with_others(own, instead({function: other})))(*map(jnp.zeros, shapes))
        assert len(called) == CALLS[function.__name__].get(stage.block, 0), stage.name


def test_a_function_that_leaves_no_name_in_a_trace_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="not jitted"):
        instead({standardise.__wrapped__: lambda x, epsilon: x})


def test_a_model_gives_the_same_for_fewer_messages(tmp_path: Path) -> None:
    model = architecture(layers=1)
    token_ids, mask = sentences(model.vocabulary)
    answers, messages = [], []
    for products in ("spu", "spu-blocks"):
        with Parties(products=products) as parties:
            parties.join().load(tmp_path / products, model, random_parameters(model))
            results = parties.run(parties.inputs(token_ids, mask), *token_ids.shape)
            answers.append(parties.answer(results))
            messages.append(sum(result.cost.link.sent_messages for result in results))
    assert np.abs(answers[0] - answers[1]).max() < 5e-3
    assert messages[1] < 0.9 * messages[0]
