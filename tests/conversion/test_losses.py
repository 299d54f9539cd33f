"""Norms without a root: what explodes still has a loss to learn from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from freediv.conversion.training.losses import logit_loss, rootless_loss
from freediv.model import hidden_states, initial_parameters
from freediv.model.functions.norms import NORMALISATIONS
from freediv.model.functions.norms.layernorm_constant import LONGEST_IN_TRAINING
from tiny import architecture


def test_a_text_that_explodes_has_a_finite_loss_and_gradient() -> None:
    student, teacher = (architecture(layers=6, norm=norm) for norm in ("layernorm-constant", "layernorm"))
    parameters = initial_parameters(student, 0, scale=2.0)
    tokens = np.arange(32, dtype=np.int32).reshape(2, 16)
    mask = np.ones((2, 16), np.float32)
    batch = {
        "token_ids": tokens, "mask": mask, "weight": np.ones(2, np.float32), "targets": np.eye(2, dtype=np.float32),
        "progress": np.float32(1.0),
    }  # fmt: skip
    exploded, _ = hidden_states(student, parameters, {"token_ids": tokens, "mask": mask})
    assert not np.all(np.isfinite(exploded[-1]))
    constants = {"teacher": initial_parameters(teacher, 0, scale=0.1), "kept": np.arange(40)}
    for loss, own in (
        (rootless_loss(student, teacher, range(6), 0.7, 0.2), constants),
        (logit_loss(student, 0.2), None),
    ):
        value, gradient = jax.value_and_grad(loss)(parameters, own, batch, jax.random.key(0))
        assert np.isfinite(value) and value > 1
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
        assert np.abs(gradient["encoder.0.feed_forward"]["norm.log_g"]).max() > 0


def test_only_rows_far_longer_than_a_root_would_leave_them_are_held() -> None:
    norm = NORMALISATIONS["layernorm-constant"].apply
    rows = jax.random.normal(jax.random.key(0), (1, 4, 16)) * jnp.array([1.0, 10.0, 100.0, 1e6])[:, None]
    own = {"weight": jnp.ones(16), "bias": jnp.zeros(16), "log_g": jnp.zeros(2)}
    free = norm(rows, own, 1e-12, lambda name, value: None)
    held = norm(rows, own | {"anneal": jnp.ones(())}, 1e-12, lambda name, value: None)
    np.testing.assert_allclose(held[0, :2], free[0, :2], rtol=1e-6)
    np.testing.assert_allclose(held[0, 2:].std(-1), LONGEST_IN_TRAINING, rtol=1e-4)
