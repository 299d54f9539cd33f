"""What no text can exceed: every text that is tried stays below, and so does what is made to break it."""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from freediv.conversion.measures.bounds import stage_bounds, within_the_ring
from freediv.conversion.measures.headroom import measure_headroom
from freediv.model import LayerSizes, Model, fold, initial_parameters
from freediv.model.functions.pooling import Pool
from freediv.model.stages import stages

PROVABLE = ["softmax", "softmax-puma", "2quad", "softmax-freediv", "2quad-freediv", "relu-freediv", "none"]


def model_of(**fields: object) -> Model:
    """Random, and none of its constants are zero."""
    architecture = tiny.architecture(**fields)
    rng = np.random.default_rng(0)
    parameters = initial_parameters(architecture, 0, scale=0.3)
    for own in parameters.values():
        for name in own:
            if name != "norm.weight":
                own[name] = (own[name] + rng.normal(0, 0.1, own[name].shape) ** 2).astype(np.float32)
    return Model(architecture, parameters)


def random_texts(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(40, size=rng.integers(2, 33)).astype(np.int32) for _ in range(count)]


@pytest.mark.parametrize(
    "model",
    [
        *(model_of(attention=attention) for attention in PROVABLE),
        *(model_of(activation=activation) for activation in ("gelu", "relu", "gelu-tanh", "none")),
        model_of(attention_norm="layernorm-constant"),
        model_of(attention_norm="none"),
        model_of(embedding_size=8, pooler="tanh"),
        *(model_of(pooler=pooler) for pooler in ("relu", "gelu")),
        model_of(embedding="public"),
        model_of(embedding_size=8, embedding_width=12),
        model_of(relative_buckets=32),
        *(model_of(disentangled={"terms": terms, "span": 32}) for terms in (("c2p",), ("c2p", "p2c"))),
        model_of(absolute_positions=False, separator_token=3),
        model_of(separator_token=3, token_types=2),
        *(
            model_of(norm_first=True, final_norm="layernorm", embedding_norm=norm, activation=activation)
            for norm in ("none", "layernorm")
            for activation in ("quad", "gelu")
        ),
        model_of(norm_first=True, final_norm="layernorm", embedding="public", embedding_norm="none"),
        *(model_of(rotary={"theta": 100.0}, window={"reach": 4, "every": 2}, attention=a) for a in PROVABLE[:-1]),
        *(model_of(gated=True, activation=activation) for activation in ("quad", "gelu", "relu", "none")),
        model_of(pooler="gelu", pooler_norm="layernorm", pooling="mean"),
        *(
            model_of(
                sizes=(LayerSizes(pool=Pool(rows=2)), LayerSizes(heads=2, intermediate=8)), pooling="mean", **fields
            )
            for fields in ({}, {"norm_first": True, "final_norm": "layernorm"})
        ),
    ],
    ids=lambda model: "-".join(model.architecture.functions[0].model_dump().values()),
)
def test_no_text_exceeds_its_bound(model: Model) -> None:
    bounds, seen = stage_bounds(model), measure_headroom(model, random_texts(200)).largest
    assert bounds.keys() == seen.keys()
    for stage, largest in seen.items():
        assert largest <= bounds[stage] < math.inf, stage


@pytest.mark.parametrize("attention", ["2quad-freediv", "relu-freediv", "softmax"])
@pytest.mark.parametrize("activation", ["quad", "gelu"])
def test_no_row_that_is_made_to_exceed_a_bound_does(attention: str, activation: str) -> None:
    """Gradient ascent over rows as a LayerNorm leaves them: closer to the worst than any text."""
    model = model_of(attention=attention, activation=activation)
    architecture = model.architecture
    parameters, bounds = fold(architecture, model.parameters), stage_bounds(model)
    mask = jnp.ones((1, 4))
    for stage in stages(architecture, folded=True)[1:]:

        def largest(free: jax.Array, stage=stage) -> jax.Array:
            rows = free - free.mean(-1, keepdims=True)
            rows = rows * math.sqrt(rows.shape[-1]) / jnp.linalg.norm(rows, axis=-1, keepdims=True)
            values = {"hidden": rows, "mask": mask, "mask_over_length": mask / 4}
            seen: dict[str, jax.Array] = {}
            stage.apply(parameters[stage.name], *(values[name] for name in stage.inputs), observe=seen.__setitem__)
            return 16 * seen["variance"].max() if "variance" in seen else jnp.zeros(())

        rows = jax.random.normal(jax.random.key(0), (1, 4, 16))
        step, first = jax.jit(jax.value_and_grad(largest)), largest(rows)
        for _ in range(200):
            value, gradient = step(rows)
            rows = rows + 0.3 * gradient / (jnp.linalg.norm(gradient) + 1e-9)
        if stage.block != "classifier":
            assert value > 1.5 * first
        assert value <= bounds[stage.name]


def test_a_bound_grows_with_the_weights_until_it_proves_nothing() -> None:
    model = model_of(attention="softmax")
    name = "encoder.0.attention"
    assert within_the_ring(stage_bounds(model)[name])
    large = model.parameters[name] | {"output.weight": model.parameters[name]["output.weight"] * np.float32(1e4)}
    bounds = stage_bounds(replace(model, parameters=model.parameters | {name: large}))
    assert not within_the_ring(bounds[name])
    assert within_the_ring(bounds["encoder.0.feed_forward"])  # the norm between them has its root


def test_the_bound_of_rows_that_are_only_added_to_grows_with_each_layer_and_never_comes_back() -> None:
    fields = {"norm_first": True, "final_norm": "layernorm", "embedding_norm": "none"}
    model = model_of(**fields, activation="gelu", layers=3)
    parts = ("attention", "feed_forward")
    names = ["embedding", *(f"encoder.{layer}.{part}" for layer in range(3) for part in parts), "classifier"]
    bounds = stage_bounds(model)
    lengths = [bounds[name] for name in names]
    assert lengths == sorted(lengths) and lengths[-1] < math.inf
    # Of one block nothing is known: then nothing is of any row after it, whatever norms read these.
    functions = list(model.architecture.functions)
    functions[1] = functions[1].model_copy(update={"attention": "2quad-goldschmidt"})
    unknown = replace(model, architecture=model.architecture.model_copy(update={"functions": tuple(functions)}))
    bounds = stage_bounds(unknown)
    assert [math.isinf(bounds[name]) for name in names] == [
        name > "encoder.1" and name != "embedding" for name in names[:-1]
    ] + [True]


@pytest.mark.parametrize("function", ["2quad-goldschmidt", "gelu-puma"])
def test_of_what_is_not_understood_nothing_is_said(function: str) -> None:
    model = model_of(attention=function) if function.startswith("2quad") else model_of(activation=function)
    stage = "encoder.1.attention" if function.startswith("2quad") else "encoder.1.feed_forward"
    assert stage_bounds(model)[stage] == math.inf
