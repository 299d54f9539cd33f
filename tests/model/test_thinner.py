"""Layers that are thinner than others: pooled rows, fewer heads, narrower blocks; folded, at every length."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from freediv.model import (
    LayerSizes,
    Model,
    fold,
    forward,
    hidden_states,
    prepare_inputs,
    read_model,
    write_model,
)
from freediv.model.functions.pooling import Pool, pooled, rows_left
from freediv.model.masks import made_of_mask
from pydantic import ValidationError

PAIRS, APART = Pool(rows=2, first_apart=False), Pool(rows=2)
PLANS: dict[str, tuple[LayerSizes, ...]] = {
    "pairs": (LayerSizes(pool=PAIRS), LayerSizes(), LayerSizes()),
    "the first apart, twice": (LayerSizes(pool=APART), LayerSizes(pool=Pool(rows=3)), LayerSizes()),
    "after the last": (LayerSizes(), LayerSizes(), LayerSizes(pool=Pool(rows=4))),
    "narrower": (LayerSizes(heads=1), LayerSizes(intermediate=5), LayerSizes(heads=3, intermediate=1)),
    "all": (LayerSizes(pool=APART), LayerSizes(heads=2, intermediate=8, pool=PAIRS), LayerSizes(heads=1)),
}
OF_IMAGES = {
    "patches": {"height": 4, "width": 4, "patch_height": 2, "patch_width": 2},
    "vocabulary": 0,
    "embedding_size": 12,
    "positions": 5,
    "token_types": 0,
}
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32)


def texts() -> tuple[np.ndarray, np.ndarray]:
    """A text of each length, padded to the longest."""
    mask = (np.arange(32) < np.array(LENGTHS)[:, None]).astype(np.float32)
    return np.random.default_rng(0).integers(1, 40, mask.shape) * mask.astype(int), mask


def logits(model: Model, token_ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    run = jax.jit(partial(forward, model.architecture))
    return np.asarray(run(model.parameters, {"token_ids": token_ids, "mask": mask}))


@pytest.mark.parametrize("pool", [PAIRS, APART, Pool(rows=3), Pool(rows=5, first_apart=False)], ids=str)
def test_a_pooled_row_is_the_mean_of_the_real_ones(pool: Pool) -> None:
    random = np.random.default_rng(0)
    for length in range(1, 12):
        for real in range(1, length + 1):
            rows, mask = random.normal(size=(1, length, 4)), (np.arange(length) < real).astype(float)[None]
            groups = [[0]] if pool.first_apart else []
            rest = range(len(groups), length)
            groups += [list(rest[start : start + pool.rows]) for start in range(0, len(rest), pool.rows)]
            wanted = [rows[0, [i for i in group if i < real]].mean(0) for group in groups if group[0] < real]
            found, left = pooled((pool,), rows, mask)
            assert found.shape[1] == left.shape[1] == pool.length(length) == len(groups)
            np.testing.assert_array_equal(left[0], [group[0] < real for group in groups])
            np.testing.assert_allclose(found[0, : len(wanted)], wanted)
            if (length, real) == (7, 5):  # one shape, as each is compiled
                in_jax = pooled((pool,), jnp.asarray(rows), jnp.asarray(mask))[0]
                np.testing.assert_allclose(in_jax, found, atol=1e-6)


FIELDS: dict[str, dict[str, Any]] = {
    "ours": {},
    "published": {"attention": "softmax", "activation": "gelu", "pooler": "tanh"},
    "relative": {"relative_buckets": 8, "pooling": "mean"},
    "disentangled": {"disentangled": {"terms": ("c2p", "p2c"), "span": 8}, "gated": True},
    "norms first": {"norm_first": True, "final_norm": "layernorm", "rotary": {"theta": 100.0}},
    "no roots": {"norm": "layernorm-constant", "embedding_norm": "layernorm-constant"},
}


def thinned(plan: str, fields: str) -> Model:
    """Random, and none of its biases and constants are zero."""
    model = tiny.model(layers=3, scale=0.08 if fields == "no roots" else 0.3, sizes=PLANS[plan], **FIELDS[fields])
    for own in model.parameters.values():
        for name in own:
            if name.endswith("norm.bias") or name.startswith("constants."):
                own[name] = own[name] + np.float32(0.3)
    return model


@pytest.mark.parametrize(
    ("plan", "fields"), [*((plan, "ours") for plan in PLANS), *(("all", fields) for fields in list(FIELDS)[1:])]
)
def test_a_folded_model_is_the_same_at_every_length(plan: str, fields: str) -> None:
    model = thinned(plan, fields)
    token_ids, mask = texts()
    plain = logits(model, token_ids, mask)
    folded = fold(model.architecture, model.parameters)
    found = jax.jit(partial(forward, model.architecture, folded=True))(
        folded, prepare_inputs(model.architecture, token_ids, mask)
    )
    assert np.ptp(plain) > 0.01
    np.testing.assert_allclose(found, plain, atol=2e-4 * np.ptp(plain))


@pytest.mark.parametrize("length", [1, 2, 7, 32])
def test_padding_changes_no_answer(length: int) -> None:
    model = thinned("all", "ours")
    token_ids, mask = texts()
    row = LENGTHS.index(length)
    alone = logits(model, token_ids[row : row + 1, :length], mask[row : row + 1, :length])
    np.testing.assert_allclose(alone[0], logits(model, token_ids, mask)[row], atol=1e-4)


def test_rows_and_weights_are_as_many_as_the_plan_says() -> None:
    model = thinned("all", "ours")
    token_ids, mask = texts()
    states, _ = hidden_states(model.architecture, model.parameters, {"token_ids": token_ids, "mask": mask})
    assert [state.shape[1] for state in states] == [32, 17, 9, 9]
    assert made_of_mask(model.architecture, mask)["mask.2"].sum(-1).tolist() == [
        rows_left(model.architecture.pools, length) for length in LENGTHS
    ]
    assert model.parameters["encoder.1.attention"]["qkv.weight"].shape == (16, 3 * 8)
    assert model.parameters["encoder.2.attention"]["output.weight"].shape == (4, 16)
    assert model.parameters["encoder.1.feed_forward"]["output.weight"].shape == (8, 16)


@pytest.mark.parametrize("fields", [{}, {"relative_buckets": 8}, {"norm": "layernorm-constant"}], ids=str)
def test_of_the_last_layer_only_the_row_is_made_that_the_classifier_reads(fields: dict[str, Any]) -> None:
    """What is left of it is as it is where all rows are made: the mean of rows needs them all."""
    first, mean = (tiny.architecture(layers=3, pooling=pooling, **fields) for pooling in ("first", "mean"))
    parameters = tiny.model(layers=3, pooling="first", **fields).parameters
    token_ids, mask = texts()
    rows: dict[str, dict[str, jax.Array]] = {"first": {}, "mean": {}}
    for model in (first, mean):
        inputs = prepare_inputs(model, token_ids, mask)
        hidden_states(model, fold(model, parameters), inputs, folded=True, observe=rows[model.pooling].__setitem__)
    made = {name: value.shape[1] for name, value in rows["first"].items() if name.endswith("/output")}
    for name, value in rows["mean"].items():
        if not name.startswith("classifier") and name.endswith("/output"):
            assert made[name] == (1 if name.startswith("encoder.2.") else 32) and value.shape[1] == 32
            np.testing.assert_allclose(rows["first"][name], value[:, : made[name]], atol=1e-5)
    assert rows["first"]["encoder.2.attention/scores"].shape[2:] == (1, 32)
    pieces = tiny.architecture(answer="pieces", pooler="none", label_names=("O", "X"))
    assert pieces.answers_from is None and first.answers_from == 1 and mean.answers_from is None


def test_a_directory_holds_it(tmp_path: Path) -> None:
    model = thinned("all", "ours")
    write_model(model, tmp_path)
    read = read_model(tmp_path)
    assert read.architecture == model.architecture
    np.testing.assert_array_equal(logits(read, *texts()), logits(model, *texts()))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sizes": (LayerSizes(),)}, "sizes are given for 1 layers, the model has 2"),
        ({"sizes": (LayerSizes(), LayerSizes(heads=5))}, "sizes.1.heads: 5, and the model has 4"),
        ({"sizes": (LayerSizes(intermediate=25), LayerSizes())}, "sizes.0.intermediate: 25, and the model has 24"),
        (
            {"sizes": (LayerSizes(pool=APART), LayerSizes()), "answer": "pieces"},
            "a model that labels word pieces needs a row for each of them",
        ),
        (
            {"sizes": (LayerSizes(pool=APART), LayerSizes()), "window": {"reach": 4, "every": 2}},
            "layers that see near places alone",
        ),
        ({"sizes": (LayerSizes(pool=APART), LayerSizes()), **OF_IMAGES}, "rows are pooled, which is for texts"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tiny.architecture(**fields)
