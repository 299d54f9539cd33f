"""Scores by content and by distance, apart: folded as unfolded, rows of the table, and rearrangements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from freediv.conversion.measures.bounds import stage_bounds
from freediv.model import Model, fold, forward, parameter_shapes, prepare_inputs
from freediv.model.functions.disentangled import Disentangled, ascending, at_places, take_rows
from test_functions import REAL_ATTENTIONS, batch, perturbed
from tiny import architecture as tiny_architecture

V3 = {"terms": ("c2p", "p2c"), "span": 8, "buckets": 8, "farthest": 32, "shared": True, "normed": True}


def without_distances(parameters: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    return {
        stage: {name: 0 * value if name.startswith("distances") else value for name, value in own.items()}
        for stage, own in parameters.items()
    }


@pytest.mark.parametrize("attention", REAL_ATTENTIONS)
@pytest.mark.parametrize(
    "fields",
    [
        {"disentangled": V3, "absolute_positions": False, "token_types": 0},
        {"disentangled": V3 | {"shared": False}, "absolute_positions": False, "separator_token": 3},
        {"disentangled": {"terms": ("c2p",), "span": 4}},
        {"disentangled": {"terms": ("p2c",), "span": 32, "shared": True}},
    ],
    ids=["v3", "own-maps", "c2p", "p2c"],
)
def test_distances_fold_with_scale_and_norms(attention: str, fields: dict[str, Any]) -> None:
    architecture = tiny_architecture(attention=attention, **fields)
    parameters = perturbed(architecture)
    token_ids, mask = batch([5, 16, 1])
    plain = forward(architecture, parameters, {"token_ids": token_ids, "mask": mask})
    folded = fold(architecture, parameters)
    shapes = {stage: {name: np.shape(value) for name, value in own.items()} for stage, own in folded.items()}
    assert shapes == parameter_shapes(architecture, folded=True)
    secure = forward(architecture, folded, prepare_inputs(architecture, token_ids, mask), folded=True)
    np.testing.assert_allclose(secure, plain, rtol=2e-4, atol=2e-5)
    without = forward(architecture, without_distances(parameters), {"token_ids": token_ids, "mask": mask})
    assert np.abs(without - plain).max() > 1e-4


def test_terms_without_a_table_scale_the_scores() -> None:
    """A published configuration may count terms that it does not have."""
    token_ids, mask = batch([9, 4])
    inputs = {"token_ids": token_ids, "mask": mask}
    counted = tiny_architecture(attention="softmax", disentangled={"terms": ("c2p", "p2c"), "span": 0})
    parameters = perturbed(counted)
    wider = {stage: dict(own) for stage, own in parameters.items()}
    for layer in range(2):
        own = wider[f"encoder.{layer}.attention"]
        for name in ("qkv.weight", "qkv.bias"):
            own[name] = own[name] / np.repeat([3**0.25, 3**0.25, 1], 16).astype(np.float32)
    plain = tiny_architecture(attention="softmax")
    np.testing.assert_allclose(
        forward(counted, parameters, inputs), forward(plain, wider, inputs), rtol=1e-5, atol=1e-6
    )


def test_rows_go_to_the_places_that_their_numbers_name() -> None:
    table = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    for numbers in ([3], [3, 4, 5], [5, 4, 3, 3, 3, 4], [0, 8, 1, 1], [8, 7, 7, 6, 2, 2]):
        np.testing.assert_array_equal(take_rows(table, np.array(numbers)), table[numbers])
    for length in (1, 2, 7):
        products = np.random.default_rng(1).normal(size=(2, length, 2 * length)).astype(np.float32)
        distances = ascending(length).tolist()
        found = np.asarray(at_places(products))
        for i in range(length):
            for j in range(length):
                np.testing.assert_array_equal(found[:, i, j], products[:, i, distances.index(j - i)])


def test_a_bound_counts_what_distances_add() -> None:
    """Rows that point where a distance's key does: nothing of pieces alone bounds their scores."""
    architecture = tiny_architecture(attention="2quad-freediv", disentangled={"terms": ("c2p",), "span": 4})
    parameters = perturbed(architecture)
    name = "encoder.0.attention"
    smaller = stage_bounds(Model(architecture, without_distances(parameters)))[name]
    parameters[name]["distances"] = parameters[name]["distances"] * 1000
    larger = stage_bounds(Model(architecture, parameters))[name]
    assert larger > 1000 * smaller


@pytest.mark.parametrize(
    "wrong",
    [{"terms": ("c2p", "c2p"), "span": 4}, {"span": 4, "buckets": 4, "farthest": 3}, {"span": 4, "buckets": 1}],
)
def test_a_table_that_nothing_defines_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"terms|buckets"):
        Disentangled(**wrong)
