"""Rows that no root bounds keep their limits, or the answer tells."""

from __future__ import annotations

import numpy as np
import pytest
from freediv.transformer import (
    Architecture,
    LayerFunctions,
    answer,
    fold,
    hidden_states,
    initial_parameters,
    input_shapes,
    parameter_shapes,
    prepare_inputs,
    stages,
)

ROOTLESS = {"attention_norm": "layernorm-constant", "feed_forward_norm": "layernorm-constant"}


def architecture(functions: dict[str, str], **changes: object) -> Architecture:
    chosen = LayerFunctions(attention="2quad-freediv", activation="quad", **functions)
    fields = {
        "vocabulary": 40, "embedding_size": 16, "hidden": 16, "layers": 2, "heads": 4, "intermediate": 24,
        "positions": 32, "label_names": ("negative", "positive"), "functions": (chosen,) * 2, "row_limits": True,
    }  # fmt: skip
    return Architecture(**{**fields, **changes})


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
    rows = [np.asarray(value)[..., 0] for name, value in seen.items() if name.endswith("log_variance_g2")]
    return np.exp([np.where(mask > 0, own, -np.inf).max(-1) for own in rows]).T


def answered(model: Architecture, parameters: dict[str, dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    inputs = prepare_inputs(model, *texts())
    logits, within = answer(model, fold(model, parameters), inputs)
    return np.asarray(logits), np.asarray(within)


@pytest.mark.parametrize(
    "model",
    [
        architecture(ROOTLESS, embedding_norm="layernorm-constant"),
        architecture(ROOTLESS, pooler="identity"),
        architecture({"attention_norm": "layernorm-constant"}),
        architecture({"feed_forward_norm": "layernorm-constant"}, embedding_size=8, pooler="none"),
    ],
    ids=["no roots", "a root at first", "half of them", "the other half"],
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
    model = architecture(ROOTLESS)
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


def test_only_a_model_with_limits_asks_for_more_inputs_and_parameters() -> None:
    model = architecture(ROOTLESS)
    without = model.model_copy(update={"row_limits": False})
    assert set(input_shapes(model, 1, 16)) - set(input_shapes(without, 1, 16)) == {"mask"}
    assert parameter_shapes(model)["classifier"]["limits"] == (4,)
    assert "limits" not in parameter_shapes(without)["classifier"]
    assert {stage.output for stage in stages(without, folded=True)} == {"hidden", "logits"}
    with pytest.raises(ValueError, match="nothing to limit"):
        architecture({})
    assert model.bounded and not without.bounded
    assert not architecture({"attention_norm": "none", "feed_forward_norm": "layernorm-constant"}).bounded
