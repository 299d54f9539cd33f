"""Blocks that normalise what they read: against the formulas written out, folded, and what is refused of them."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from freediv.model import Architecture, Model, fold, forward, initial_parameters, parameter_shapes, prepare_inputs
from pydantic import ValidationError

KINDS = {
    "no norm of the embedding": {"embedding_norm": "none"},
    "a norm of the embedding": {},
    "a public table": {"embedding_norm": "none", "embedding": "public"},
    "a narrow table": {"embedding_norm": "none", "embedding_size": 8},
    "no root": {"embedding_norm": "none", "norm": "layernorm-constant"},
    "a pooler": {"pooler": "tanh"},
}
"""Fields of architectures whose first layer has a norm before attention."""


def architecture(first: str | None = None, **fields: object) -> Architecture:
    """`first`: the first layer's norm before attention, if it is another than the others'."""
    found = tiny.architecture(norm_first=True, **{"final_norm": "layernorm", "pooler": "identity"} | fields)
    if first is None:
        return found
    own, *others = found.functions
    functions = (own.model_copy(update={"attention_norm": first}), *others)
    return Architecture(**found.model_dump() | {"functions": functions})


def model_of(chosen: Architecture) -> Model:
    """Random, and no norm's weight or bias, and no constant, is one or zero."""
    random = np.random.default_rng(0)
    parameters = initial_parameters(chosen, 0, scale=0.3)
    for own in parameters.values():
        for name in own:
            shift = -2.0 if name == "norm.log_g" else 0.0  # without a root, lest rows explode
            own[name] = (own[name] + shift + random.normal(0, 0.2, own[name].shape) ** 2).astype(np.float32)
    return Model(chosen, parameters)


def texts(lengths: tuple[int, ...] = (5, 16)) -> tuple[np.ndarray, np.ndarray]:
    mask = (np.arange(16) < np.array(lengths)[:, None]).astype(np.float32)
    return np.random.default_rng(1).integers(0, 40, mask.shape).astype(np.int32), mask


def published(model: Model, ids: np.ndarray) -> np.ndarray:
    """Logits of one text: Xiong et al. 2020, figure 1 (b), written out, with a norm after the embedding if it has one,
    and softmax attention and ReLU.
    """
    a, p = model.architecture, model.parameters

    def norm(x: np.ndarray, own: dict[str, np.ndarray]) -> np.ndarray:
        if "norm.weight" not in own:
            return x
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + a.norm_epsilon)
        return x * own["norm.weight"] + own["norm.bias"]

    def linear(x: np.ndarray, own: dict[str, np.ndarray], name: str) -> np.ndarray:
        return x @ own[f"{name}.weight"] + own[f"{name}.bias"]

    own = p["embedding"]
    x = norm(own["word"][ids] + own["position"][: len(ids)] + own["token_type"][0], own)
    for layer in range(a.layers):
        own = p[f"encoder.{layer}.attention"]
        q, k, v = np.split(linear(norm(x, own), own, "qkv").reshape(len(ids), 3 * a.heads, -1), 3, axis=1)
        scores = np.exp(np.einsum("qhd,khd->hqk", q, k) / a.head_size**0.5)
        context = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), v).reshape(len(ids), -1)
        x = x + linear(context, own, "output")
        own = p[f"encoder.{layer}.feed_forward"]
        x = x + linear(np.maximum(linear(norm(x, own), own, "intermediate"), 0), own, "output")
    own = p["classifier"]
    pooled = np.tanh(linear(norm(x[0], own), own, "pooler"))
    return pooled @ own["weight"] + own["bias"]


@pytest.mark.parametrize("first", [None, "none"])
@pytest.mark.parametrize("embedding_norm", ["layernorm", "none"])
def test_a_model_gives_what_the_formulas_say(first: str | None, embedding_norm: str) -> None:
    chosen = architecture(first, attention="softmax", activation="relu", embedding_norm=embedding_norm, pooler="tanh")
    model = model_of(chosen)
    ids, mask = texts((7, 16))
    found = np.asarray(forward(chosen, model.parameters, {"token_ids": ids, "mask": mask}))
    for row, length in enumerate((7, 16)):
        np.testing.assert_allclose(found[row], published(model, ids[row, :length]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [None, "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_folding_changes_no_answer(kind: str, first: str | None) -> None:
    chosen = architecture(first, **KINDS[kind])
    model = model_of(chosen)
    ids, mask = texts()
    plain = np.asarray(forward(chosen, model.parameters, {"token_ids": ids, "mask": mask}))
    folded = fold(chosen, model.parameters)
    shapes = {stage: {name: np.shape(value) for name, value in own.items()} for stage, own in folded.items()}
    assert shapes == parameter_shapes(chosen, folded=True)
    inputs = prepare_inputs(chosen, ids, mask, table=model.public_table)
    secure = np.asarray(forward(chosen, folded, inputs, folded=True))
    np.testing.assert_allclose(secure, plain, rtol=1e-4, atol=1e-4 * np.abs(plain).max())
    assert np.ptp(plain, axis=0).max() > 1e-3


def test_no_norm_of_a_secure_run_takes_a_mean() -> None:
    """Rows are added up without one, from the embedding on."""
    chosen = architecture(embedding_norm="none")
    model = model_of(chosen)
    ids, mask = texts()
    folded = fold(chosen, model.parameters)
    names = {name for own in folded.values() for name in own}
    assert not any(name.startswith(("residual.", "norm.")) for name in names)
    seen: dict[str, np.ndarray] = {}
    inputs = prepare_inputs(chosen, ids, mask)
    forward(chosen, folded, inputs, folded=True, observe=seen.__setitem__)
    for stage in (
        "embedding",
        *(f"encoder.{layer}.{kind}" for layer in range(2) for kind in ("attention", "feed_forward")),
    ):
        rows = np.asarray(seen[f"{stage}/output"])
        assert np.abs(rows.mean(-1)).max() < 1e-5 * np.abs(rows).max()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"row_limits": True, "norm": "layernorm-constant"}, "row_limits"),
        ({"final_norm": "layernorm-constant"}, "final_norm"),
        ({"final_norm": "none"}, "norm_first"),
        ({"feed_forward_norm": "none"}, "norm_first"),
        ({"norm": "none"}, "norm_first"),
        ({"layers": 0}, "norm_first"),
        ({"norm_first": False}, "final_norm"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=f"{named}: "):
        tiny.architecture(**{"norm_first": True, "final_norm": "layernorm"} | fields)


def test_a_model_is_bounded_where_every_row_that_a_branch_reads_is() -> None:
    assert architecture(embedding_norm="none").bounded
    assert architecture("none").bounded  # the embedding's norm bounds what the first layer reads
    assert not architecture("none", embedding_norm="none").bounded
    assert not architecture(norm="layernorm-constant").bounded
    assert not architecture(norm="none", final_norm="none").bounded
