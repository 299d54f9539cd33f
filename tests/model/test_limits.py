"""Rows that no root bounds keep their limits, or the answer tells."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from freediv.model import (
    Architecture,
    LayerSizes,
    answer,
    fold,
    hidden_states,
    initial_parameters,
    input_shapes,
    parameter_shapes,
    prepare_inputs,
    stages,
)
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.pooling import Pool, of_pooled
from freediv.model.limits import kept, resolutions
from freediv.model.masks import made_of_mask

limited = partial(tiny.architecture, row_limits=True)
POOLED = (LayerSizes(pool=Pool(rows=2)), LayerSizes())


def parameters_of(model: Architecture) -> dict[str, dict[str, np.ndarray]]:
    parameters = initial_parameters(model, scale=0.08)
    for own in parameters.values():
        if "norm.log_g" in own:
            own["norm.log_g"] = np.array([0.3, -0.2], np.float32)
    return parameters


def texts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = (np.arange(16) < rng.integers(3, 17, 24)[:, None]).astype(np.float32)
    return rng.integers(1, 40, (24, 16)) * mask.astype(int), mask


def usual(model: Architecture, parameters: dict[str, dict[str, np.ndarray]]) -> np.ndarray:
    """Each text's longest row at each norm without a root, as its mean square [texts, norms]."""
    token_ids, mask = texts()
    seen: dict[str, np.ndarray] = {}
    hidden_states(model, parameters, {"token_ids": token_ids, "mask": mask}, observe=seen.__setitem__)
    masks = made_of_mask(model, mask)
    rows = [
        np.where(masks[of_pooled("mask", stage.pools)] > 0, np.asarray(seen[name])[..., 0], -np.inf)
        for stage in stages(model)
        if (name := f"{stage.name}/log_variance_g2") in seen
    ]
    return np.exp([own.max(-1) for own in rows]).T


def answered(model: Architecture, parameters: dict[str, dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    inputs = prepare_inputs(model, *texts())
    logits, within = answer(model, fold(model, parameters), inputs)
    return np.asarray(logits), np.asarray(within)


@pytest.mark.parametrize(
    "model",
    [
        limited(norm="layernorm-constant", embedding_norm="layernorm-constant"),
        limited(norm="layernorm-constant", pooler="identity"),
        limited(attention_norm="layernorm-constant"),
        limited(feed_forward_norm="layernorm-constant", embedding_size=8, pooler="none"),
        limited(norm="layernorm-constant", embedding_norm="layernorm-constant", sizes=POOLED),
        limited(feed_forward_norm="layernorm-constant", sizes=POOLED[::-1]),
    ],
    ids=["no roots", "a root at first", "half of them", "the other half", "pooled", "pooled at the end"],
)
def test_a_text_gets_no_answer_where_one_of_its_rows_is_beyond_its_limit(model: Architecture) -> None:
    parameters = parameters_of(model)
    seen = usual(model, parameters)
    assert seen.shape[1] == sum(model.limited) == len(parameters["classifier"]["limits"])
    for limits in (*np.quantile(seen, [0.3, 0.9, 1.0], axis=0) * 1.001, np.full(seen.shape[1], 1e6)):
        parameters["classifier"]["limits"] = limits.astype(np.float32)
        _, within = answered(model, parameters)
        np.testing.assert_array_equal(within, (seen <= limits).all(-1))
    for number in range(seen.shape[1]):  # each limit is that of its own rows
        limits = np.full(seen.shape[1], 1e6, np.float32)
        limits[number] = np.median(seen[:, number]) * 1.0001
        parameters["classifier"]["limits"] = limits
        np.testing.assert_array_equal(answered(model, parameters)[1], seen[:, number] <= limits[number])


def test_limits_change_no_logit_and_a_row_too_long_to_be_squared_is_seen() -> None:
    model = limited(norm="layernorm-constant")
    parameters = parameters_of(model)
    parameters["classifier"]["limits"] = np.full(4, 1e6, np.float32)
    without = model.model_copy(update={"row_limits": False})
    bare = parameters | {"classifier": {k: v for k, v in parameters["classifier"].items() if k != "limits"}}
    logits, within = answered(model, parameters)
    np.testing.assert_allclose(logits, answered(without, bare)[0], rtol=1e-5, atol=1e-6)
    assert within.all() and answered(without, bare)[1].all()
    attention = parameters["encoder.1.attention"]
    attention["output.bias"] = attention["output.bias"] + 1e5 * np.arange(16, dtype=np.float32)
    parameters["classifier"]["limits"] = np.full(4, 1e30, np.float32)
    assert not answered(model, parameters)[1].any()
    parameters["encoder.0.attention"]["output.weight"] *= np.float32(np.inf)
    assert not answered(model, parameters)[1].any()  # what is no number keeps no limit


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
def test_a_row_counts_if_and_only_if_attention_can_see_it(attention: str) -> None:
    """With a row that is far beyond its limit at a position whose mask takes any value."""
    model = limited(norm="layernorm-constant", embedding_norm="layernorm-constant")
    functions = tuple(own.model_copy(update={"attention": attention}) for own in model.functions)
    model = model.model_copy(update={"functions": functions})
    parameters = parameters_of(model)
    parameters["classifier"]["limits"] = 2 * usual(model, parameters).max(0)
    reads = ATTENTIONS[attention].reads
    token_ids, mask = (np.tile(own[:1], (8, 1)) for own in texts())
    mask[:, 5:] = 0
    token_ids[:, 5:] = 0
    inputs = prepare_inputs(model, token_ids, mask)
    folded = fold(model, parameters)
    bare, fit = answer(model, folded, inputs)
    inputs["one_hot"][1:, 7] = 1000 * np.eye(40)[3]
    if reads == "nothing":
        np.testing.assert_array_equal(answer(model, folded, inputs)[1], [True] + [False] * 7)
        return
    inputs[reads][:, 7] = [0, 0, 2**-18, -(2**-18), 0.1, -0.1, 1, 1e6]
    logits, within = answer(model, folded, inputs)
    np.testing.assert_array_equal(within, [True] * 2 + [False] * 6)
    np.testing.assert_array_equal(logits[1], bare[0])  # no trace of it where it does not count
    assert fit.all()
    inputs["one_hot"][:, 0] *= 1000  # the first row counts whatever its mask
    inputs[reads][:, [0, 7]] = 0
    assert not answer(model, folded, inputs)[1].any()


@pytest.mark.parametrize("attentions", [("2quad-freediv",) * 3, ("softmax", "2quad-freediv", "2quad"), ("none",) * 3])
@pytest.mark.parametrize("length", [1, 16, 21])
def test_one_bit_says_whether_all_rows_that_count_fit(attentions: tuple[str, ...], length: int) -> None:
    """As rows are judged one by one; one counts if any mask that a layer reads is not zero, and the first always."""
    model = limited(norm="layernorm-constant")
    functions = tuple(model.functions[0].model_copy(update={"attention": name}) for name in attentions)
    model = model.model_copy(update={"functions": functions, "layers": 3})
    own, answering = resolutions(model)  # of the last layer the classifier's row alone
    limits, signs = own.limits, 2 * len(own.masks)
    assert (limits, answering.limits, answering.size(length), answering.masks) == (4 + 2, 2 + 1, 3, ())
    rng = np.random.default_rng(0)
    short = rng.random((400, limits, length)) > 0.2 / limits / length
    zero = rng.random((400, signs, length)) > 0.5
    wanted = rng.random(400) > 0.5
    counts = np.any(~zero, axis=1) if signs else np.ones((400, length), bool)
    counts[:, 0] = True
    last = rng.random((400, 3)) > 0.05
    expected = np.all(short.all(axis=1) | ~counts, axis=-1) & last.all(axis=1)
    assert 10 < expected.sum() < 390
    fits = jnp.asarray(np.concatenate([np.concatenate([short, zero], axis=1).reshape(400, -1), last], axis=1))
    found, given = kept(model, fits, jnp.asarray(wanted))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(given, expected & wanted)


@pytest.mark.parametrize("length", [1, 2, 16, 21])
def test_rows_of_every_resolution_count_by_masks_of_their_own(length: int) -> None:
    model = limited(layers=3, norm="layernorm-constant", sizes=(LayerSizes(pool=Pool(rows=3)), *POOLED))
    found = list(resolutions(model))
    assert [own.masks for own in found] == [
        ("mask_over_length", "pooling.1"),
        ("mask_over_length.1", "pooling.2"),
        (),
    ]
    rng, expected, fits = np.random.default_rng(0), np.ones(400, bool), []
    wanted = rng.random(400) > 0.5
    for own in found:
        rows = own.size(length) // own.comparisons
        short = rng.random((400, own.limits, rows)) > 0.1 / own.limits / rows
        zero = rng.random((400, 2 * len(own.masks), rows)) > 0.5
        counts = np.any(~zero, axis=1) if own.masks else np.ones((400, rows), bool)
        counts[:, 0] = True
        expected &= np.all(short.all(axis=1) | ~counts, axis=-1)
        fits.append(np.concatenate([short, zero], axis=1).reshape(400, -1))
    assert 10 < expected.sum() < 390
    all_kept, given = kept(model, jnp.asarray(np.concatenate(fits, axis=1)), jnp.asarray(wanted))
    np.testing.assert_array_equal(all_kept, expected)
    np.testing.assert_array_equal(given, expected & wanted)


def test_a_row_that_no_attention_sees_counts_where_pooling_does() -> None:
    """An owner may send any weights: what is pooled has been compared with its limit."""
    model = limited(norm="layernorm-constant", embedding_norm="layernorm-constant", sizes=POOLED)
    parameters = parameters_of(model)
    parameters["classifier"]["limits"] = np.full(5, 1e6, np.float32)
    inputs = prepare_inputs(model, *texts())
    inputs["mask_over_length"][:, 7] = inputs["pooling.1"][:, 7] = 0
    inputs["one_hot"][:, 7] = 1e4 * np.eye(40)[3]  # whatever it becomes
    assert answer(model, fold(model, parameters), inputs)[1].all()
    inputs["pooling.1"][:, 7] = 2**-18
    assert not answer(model, fold(model, parameters), inputs)[1].any()


def test_limits_ask_for_no_more_than_what_attention_reads() -> None:
    model = limited(norm="layernorm-constant")
    without = model.model_copy(update={"row_limits": False})
    assert input_shapes(model, 1, 16) == input_shapes(without, 1, 16)
    assert parameter_shapes(model)["classifier"]["limits"] == (4,)
    assert "limits" not in parameter_shapes(without)["classifier"]
    assert {stage.output for stage in stages(without, folded=True)} == {"hidden", "logits"}
    with pytest.raises(ValueError, match="nothing to limit"):
        limited()
    assert model.bounded and not without.bounded
    assert not limited(attention_norm="none", feed_forward_norm="layernorm-constant").bounded
