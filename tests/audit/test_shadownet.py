"""Masked weights: that the transform is the published one, and what is found of it without its secrets."""

from __future__ import annotations

import numpy as np
import pytest
from freediv.audit import shadownet
from freediv.audit.agreement import ask
from freediv.conversion.measures.predictions import logits_of
from freediv.errors import UserError
from tiny import PUBLISHED, model

OUTPUTS, INPUTS = 96, 192


@pytest.fixture(scope="module")
def filters() -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, 0.05, (OUTPUTS, INPUTS))


@pytest.fixture(scope="module")
def masked(filters: np.ndarray) -> shadownet.Masked:
    return shadownet.transform(filters, (1,))


def test_the_enclave_restores_what_the_accelerator_computed(filters: np.ndarray, masked: shadownet.Masked) -> None:
    x = np.random.default_rng(2).normal(size=INPUTS)
    seen = masked.view @ x
    restored = masked.scale * seen[masked.place] + seen[masked.mask]
    np.testing.assert_allclose(restored, filters @ x, atol=1e-4)
    assert len(masked.view) == int(shadownet.RATIO * OUTPUTS)
    assert (masked.scale <= 1).all()


def test_all_assignments_are_found_and_filters_but_for_a_root_of_the_inputs(
    filters: np.ndarray, masked: shadownet.Masked
) -> None:
    stolen = shadownet.attack(masked.view)
    np.testing.assert_array_equal(stolen.mask[masked.place], masked.mask)
    masks = np.setdiff1d(np.arange(len(masked.view)), masked.place)
    assert (stolen.mask[masks] == -1).all()
    found = shadownet.relative_error(stolen.weights[masked.place], filters)
    along = masked.view[masked.place]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    lost = np.abs((filters * along).sum(axis=1)) / np.linalg.norm(filters, axis=1)
    assert found == pytest.approx(lost.mean(), rel=1e-3)  # its part along what was handed out, and nothing else
    assert found < 2 / np.sqrt(INPUTS)


def test_a_mask_of_one_filter_alone_is_the_shorter_of_both() -> None:
    filters = np.random.default_rng(3).normal(0.0, 0.05, (4, INPUTS))
    masked = shadownet.transform(filters, (4,), ratio=25)  # of 96 masks each filter has its own
    assert len(np.unique(masked.mask)) == len(filters)
    np.testing.assert_array_equal(shadownet.attack(masked.view).mask[masked.place], masked.mask)


def test_the_order_of_outputs_is_read_off_a_public_model(filters: np.ndarray, masked: shadownet.Masked) -> None:
    stolen = shadownet.attack(masked.view)
    tuned_from = filters + np.random.default_rng(5).normal(0.0, 0.02, filters.shape)
    np.testing.assert_array_equal(shadownet.match_order(stolen.weights, tuned_from), masked.place)


def test_a_partys_view_is_uniform_and_the_weights_are_not(filters: np.ndarray) -> None:
    view = shadownet.replicated_view(filters, (0,))
    assert shadownet.uniformity(view) > 1e-4
    assert shadownet.uniformity(np.rint(filters * 2.0**18).astype(np.int64)) < 1e-12
    stolen = shadownet.attack(view[0].view(np.int64).astype(np.float64))
    assert (stolen.mask == -1).all()  # nothing lies against anything


def test_a_stolen_copy_answers_as_the_model_does_and_one_of_shares_does_not() -> None:
    victim = model(seed=1, scale=0.05, hidden=128, intermediate=160, layers=1, **PUBLISHED)
    random = np.random.default_rng(0)
    sequences = [random.integers(0, victim.architecture.vocabulary, 12).astype(np.int32) for _ in range(400)]
    victim.parameters["classifier"]["bias"] -= np.median(logits_of(victim, sequences), axis=0)
    asked = ask(victim, sequences, "answers")
    found = shadownet.run(victim, asked, seed=0, published=victim).measured
    assert found["assignments_found"] == 1
    assert found["order_found"] == 1
    assert found["agreement"] > 0.85
    assert found["agreement"] > found["replicated"]["agreement"] + 0.1  # type: ignore[index]
    assert found["replicated"]["weight_error"] > 1  # type: ignore[index]
    assert found == shadownet.run(victim, asked, seed=0, published=victim).measured
    wrong = model(seed=2, scale=0.05, hidden=128, intermediate=160, layers=1, **PUBLISHED)
    beside_another = shadownet.run(victim, asked, seed=0, published=wrong).measured
    assert beside_another["order_found"] < 0.1  # and the copy has its filters so  # type: ignore[operator]
    assert beside_another["agreement"] < found["agreement"] - 0.1  # type: ignore[operator]
    assert "assumed to be known" in shadownet.run(victim, asked, seed=0).tried
    with pytest.raises(UserError, match="not of the model's shape"):
        shadownet.run(victim, asked, seed=0, published=model(layers=1))
