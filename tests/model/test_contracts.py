"""What functions and blocks say of themselves: complete, true, and nothing is guessed where they do not say it."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from freediv.conversion.measures.bounds import stage_bounds
from freediv.conversion.student.recipe import ConstantsRecipe
from freediv.model import fold, forward, prepare_inputs
from freediv.model.blocks import blocks_of
from freediv.model.functions.activation import ACTIVATIONS, ActivationFunction
from freediv.model.functions.attention import ATTENTIONS, AttentionFunction
from freediv.model.functions.attention.function import plain
from freediv.model.functions.constant import RATES
from freediv.model.functions.norms import NORMALISATIONS, Normalisation
from freediv.model.functions.origin import Origin

REGISTRIES = {AttentionFunction: ATTENTIONS, ActivationFunction: ACTIVATIONS, Normalisation: NORMALISATIONS}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (AttentionFunction, {"name", "origin", "reads", "weigh", "affine", "bound", "sees_hidden"}),
        (ActivationFunction, {"name", "origin", "apply", "bound"}),
        (Normalisation, {"name", "origin", "apply", "folded", "centres", "scales", "root", "bounds", "length"}),
    ],
)
def test_a_function_that_does_not_say_what_bounds_it_cannot_be_made(kind: type, said: set[str]) -> None:
    needed = {one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING}
    assert needed == said
    known = next(iter(REGISTRIES[kind].values()))
    for name in said:
        with pytest.raises(TypeError, match=name):
            kind(**{other: getattr(known, other) for other in said - {name}})


def test_an_attention_that_is_not_monotone_gets_no_false_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large near zero, and nothing at its largest score, where the bound of another function would be looked for."""
    bump = AttentionFunction(
        name="bump",
        origin=Origin("a bump", "this test", retrained=True),
        reads="mask_over_length",
        weigh=lambda x, mask: 1e6 * jnp.exp(-jnp.square(x)),
        affine=plain,
        bound=None,
        sees_hidden=False,
    )
    monkeypatch.setitem(ATTENTIONS, "bump", bump)
    model = tiny.model(attention="bump", scale=0.3)
    token_ids, mask = np.arange(8)[None] + 4, np.ones((1, 8))
    inputs = prepare_inputs(model.architecture, token_ids, mask)
    assert np.isfinite(
        forward(model.architecture, fold(model.architecture, model.parameters), inputs, folded=True)
    ).all()
    bounds = stage_bounds(model)
    assert bounds["encoder.0.attention"] == bounds["encoder.1.attention"] == math.inf
    assert bounds["encoder.1.feed_forward"] < math.inf  # the norm between them has its root


@pytest.mark.parametrize("name", [name for name, function in ATTENTIONS.items() if function.bound is not None])
@pytest.mark.parametrize("top", [0.3, 3.0, 12.0])
def test_no_scores_take_an_attention_function_beyond_its_bound(name: str, top: float) -> None:
    function = ATTENTIONS[name]
    assert function.bound is not None
    x = np.random.default_rng(0).uniform(-top, top, (64, 2, 8, 8)).astype(np.float32)
    x[0], x[1], x[2, :, :, ::2] = top, -top, -top
    length = 5
    mask = (np.arange(8) < length).astype(np.float32)[None].repeat(64, 0)
    weights = np.abs(np.asarray(function.weigh(jnp.asarray(x), mask if function.reads == "mask" else None), np.float64))
    if function.reads == "mask_over_length":
        weights = weights * mask[:, None, None] / length
    assert weights.max() <= function.bound.largest(top, 8) * 1.001
    assert weights.sum(-1).max() <= function.bound.row_sum(top, 8) * 1.001


@pytest.mark.parametrize("name", [name for name, function in ACTIVATIONS.items() if function.bound is not None])
def test_no_row_takes_an_activation_beyond_its_bound(name: str) -> None:
    function, random = ACTIVATIONS[name], np.random.default_rng(0)
    assert function.bound is not None
    weight, bias, output = random.normal(size=(6, 9)), random.normal(size=9), random.normal(size=(9, 6))
    for length in (0.1, 2.0, 30.0):
        rows = random.normal(size=(2000, 6))
        rows *= length / np.linalg.norm(rows, axis=-1, keepdims=True)
        into = rows @ weight + bias
        out = np.asarray(function.apply(jnp.asarray(into)), np.float64)
        assert np.abs(out).max() <= function.bound.largest(float(np.abs(into).max())) * 1.001
        longest = np.linalg.norm(out, axis=-1).max()
        assert longest <= function.bound.length(float(np.linalg.norm(into, axis=-1).max()), 9) * 1.001
        added = np.linalg.norm(out @ output, axis=-1).max()
        assert added <= function.bound.added(weight, bias, output, length) * 1.001


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_norm_does_what_it_says(name: str) -> None:
    norm, random = NORMALISATIONS[name], np.random.default_rng(0)
    x = random.normal(1.0, 3.0, (2, 5, 16)).astype(np.float32)
    own = {"weight": jnp.ones(16), "bias": jnp.zeros(16)} if norm.scales else {}
    own |= {constant: jnp.full(2, one.start) for constant, one in norm.constants.items()}
    shifted = norm.apply(jnp.asarray(x + 7.0), own, 1e-12, lambda name, value: None)
    rows = np.asarray(norm.apply(jnp.asarray(x), own, 1e-12, lambda name, value: None))
    assert np.allclose(rows, shifted, atol=1e-4) == norm.centres
    folded = {constant: np.float32(0.5) for constant in norm.folded_constants}
    longest = norm.length(
        {f"norm.{c}": value for c, value in folded.items()}, float(np.linalg.norm(x, axis=-1).max()), 16
    )
    centred = x - x.mean(-1, keepdims=True) if norm.centres else x
    out = np.asarray(norm.folded(jnp.asarray(centred), folded, 1e-12, lambda name, value: None))
    assert np.linalg.norm(out, axis=-1).max() <= longest
    assert norm.bounds == np.isfinite(norm.length({"norm.first": np.float32(1)}, math.inf, 16))


def test_every_constant_has_a_rate_that_a_recipe_can_name() -> None:
    functions = [function for registry in REGISTRIES.values() for function in registry.values()]
    rates = {constant.rate for function in functions for constant in function.constants.values()}
    assert rates == set(RATES) == set(ConstantsRecipe.model_fields)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_blocks_start_with_what_their_functions_say(attention: str) -> None:
    model = tiny.model(attention=attention, scale=0.3)
    for block in blocks_of(model.architecture):
        for name, constant, shape in block.constants():
            np.testing.assert_array_equal(
                model.parameters[block.name][name], np.full(shape, constant.start, np.float32)
            )


@pytest.mark.parametrize("name", [name for name, function in ATTENTIONS.items() if function.reads != "nothing"])
def test_scores_at_hidden_positions_change_weights_only_where_a_function_says_so(name: str) -> None:
    function = ATTENTIONS[name]
    mask = (np.arange(8) < 5).astype(np.float32)[None]
    x = np.random.default_rng(0).normal(2.0, 0.3, (1, 2, 8, 8)).astype(np.float32)
    high = np.where(mask[:, None, None] > 0, x, 50.0).astype(np.float32)
    given = mask if function.reads == "mask" else None
    before, after = (np.asarray(function.weigh(jnp.asarray(one), given))[..., :5] for one in (x, high))
    assert np.array_equal(before, after) != function.sees_hidden
