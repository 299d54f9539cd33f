"""A stage that was cut computes what the stage computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from freediv.conversion.measures.headroom import CAPACITY_BITS, squares_per_variance
from freediv.model import Architecture, fold, initial_parameters, prepare_inputs
from freediv.model.functions.activation import ACTIVATIONS
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.norms import NORMALISATIONS
from freediv.model.functions.norms.layernorm import standardise
from freediv.mpc.cutting.plans import Call, Exchange, Local, Plan
from freediv.mpc.cutting.segments import cut, packed_arguments
from freediv.mpc.replicated import words
from freediv.mpc.replicated.products import MatrixProducts
from freediv.mpc.shares_engine import compute
from freediv.mpc.spu.programs import secure_stages, stage_function
from tiny import PUBLISHED

from .conftest import RANKS, split

BITS = 18
BATCH, LENGTH = 2, 16


def share(array: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Each party's words of float numbers."""
    parts = split(np.rint(np.asarray(array, np.float64) * 2**BITS).astype(np.int64), rng)
    return [np.stack([parts[i], parts[(i + 1) % 3]]) for i in RANKS]


def reveal(held: list[np.ndarray]) -> np.ndarray:
    return np.sum([w[0] for w in held], axis=0, dtype=np.uint64).view(np.int64) / 2.0**BITS


def run(plan: Plan, arrays: list[np.ndarray]) -> np.ndarray:
    """All three parties of a plan in plain sight: truncation is exact, and SPU's part in floating point."""
    rng, products = np.random.default_rng(0), MatrixProducts()
    values: list[dict[int, Any]] = [{} for _ in RANKS]
    left: dict[int, Any] = {}  # what SPU's runtime would hold
    for position, (slot, array) in enumerate(zip(plan.inputs, arrays, strict=True)):
        for i, held in enumerate(share(array, rng)):
            values[i][slot] = words.pack(products, held, i) if position in plan.packed else held
    for step, dropped in zip(plan.steps, plan.dropped, strict=True):
        if isinstance(step, Local):
            for i in RANKS:
                values[i][step.output] = compute(step, values[i], i, products)
        elif isinstance(step, Exchange):
            for summand, slot, shift in zip(step.summands, step.shares, step.shifts, strict=True):
                number = np.sum([values[i][summand][0] for i in RANKS], axis=0, dtype=np.uint64).view(np.int64)
                assert np.all(np.abs(number) < 2**61)
                for i, held in enumerate(share((number >> shift) / 2.0**BITS, rng)):
                    values[i][slot] = held
        else:
            given = [
                left[v] if slot is None else jnp.asarray(reveal([values[i][slot] for i in RANKS]), jnp.float32)
                for v, slot in step.inputs
            ]
            for (v, slot), result in zip(step.outputs, step.function(*given), strict=True):
                left[v] = result
                if slot is not None:
                    for i, held in enumerate(share(np.asarray(result), rng)):
                        values[i][slot] = held
        for i in RANKS:
            for slot in dropped:
                del values[i][slot]
    if plan.output is None:
        assert all(not v for v in values)
        return np.asarray(left[plan.result])
    assert all(list(v) == [plan.output] for v in values)  # nothing is kept that is not needed
    return reveal([v[plan.output] for v in values])


def both(function: Callable[..., jax.Array], arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A function's result as it is, and cut."""
    plan = cut(function, [a.shape for a in arrays], BITS)
    return np.asarray(function(*map(jnp.asarray, arrays))), run(plan, arrays)


architecture = partial(
    tiny.architecture, layers=1, vocabulary=30, hidden=12, heads=3, intermediate=20, positions=16, **PUBLISHED
)


def check_stages(model: Architecture, output: str = "logits", tolerance: float = 2e-3) -> None:
    """Every folded stage of a model with random weights, each on the exact output of the one before."""
    rng = np.random.default_rng(1)
    parameters = fold(model, initial_parameters(model, seed=2, scale=0.3))
    mask = (np.arange(LENGTH) < np.array([[LENGTH], [9]])).astype(np.int64)
    table = rng.normal(size=(model.vocabulary, model.embedding_size)).astype(np.float32)
    tokens = rng.integers(0, model.vocabulary, (BATCH, LENGTH))
    known = dict(prepare_inputs(model, tokens, mask, table=table))
    for stage in secure_stages(model, output):  # type: ignore[arg-type]
        names = sorted(stage.parameter_shapes)
        arrays = [np.asarray(parameters[stage.name][n]) for n in names] + [known[n] for n in stage.inputs]
        want, got = both(stage_function(model, stage, BATCH, LENGTH)[0], arrays)
        scale = max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, atol=tolerance * scale, err_msg=stage.name)
        known[stage.output] = want


@pytest.mark.parametrize("name", sorted(ATTENTIONS))
def test_every_attention_function(name: str):
    # Goldschmidt's iteration starts from 1/5000, of which 18 fraction bits leave six
    tolerance = 2e-2 if name == "2quad-goldschmidt" else 2e-3
    check_stages(architecture(attention=name, activation="quad"), tolerance=tolerance)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_function(name: str):
    check_stages(architecture(attention="2quad-freediv", activation=name))


@pytest.mark.parametrize("name", sorted(NORMALISATIONS))
def test_every_normalisation(name: str):
    check_stages(
        architecture(attention="2quad-freediv", activation="quad", attention_norm=name, feed_forward_norm=name)
    )


@pytest.mark.parametrize("pooler", ["tanh", "relu", "gelu", "identity", "none"])
@pytest.mark.parametrize("embedding", ["secret", "public"])
def test_every_kind_of_embedding_and_classifier(pooler: str, embedding: str):
    check_stages(architecture(pooler=pooler, embedding=embedding, embedding_size=8), output="label")


@pytest.mark.parametrize("embedding", ["secret", "public"])
def test_an_embedding_with_a_map_after_its_norm(embedding: str):
    check_stages(architecture(embedding_width=24, embedding_size=8, embedding=embedding, activation="quad"))


@pytest.mark.parametrize("embedding_norm", ["layernorm", "none"])
def test_blocks_that_normalise_what_they_read(embedding_norm: str):
    model = architecture(norm_first=True, final_norm="layernorm", embedding_norm=embedding_norm, activation="quad")
    check_stages(model, tolerance=4e-3)


@pytest.mark.parametrize("attention", ["softmax", "2quad-freediv", "softmax-freediv"])
def test_angles_windows_and_gates(attention: str):
    """Angles take one exchange more, and so do gates; windows take none."""
    fields = {"attention": attention, "activation": "quad", "layers": 2}
    parts = {"rotary": {"theta": 100.0}, "window": {"reach": 4, "every": 2}, "gated": True}
    own = {"pooling": "mean", "pooler": "relu", "pooler_norm": "layernorm"}
    check_stages(architecture(**fields, **parts, **own), tolerance=4e-3)

    def exchanges(layer: int, block: str, **more: Any) -> int:
        model = architecture(**fields, **more)
        (stage,) = (s for s in secure_stages(model, "logits") if s.name == f"encoder.{layer}.{block}")
        function, shapes = stage_function(model, stage, BATCH, LENGTH)
        return sum(isinstance(step, Exchange) for step in cut(function, shapes, BITS).steps)

    for layer in (0, 1):
        assert exchanges(layer, "attention", **parts) == exchanges(layer, "attention") + 1
        assert exchanges(layer, "feed_forward", **parts) == exchanges(layer, "feed_forward") + 1


@pytest.mark.parametrize("embedding", ["secret", "public"])
def test_pairs(embedding: str):
    model = architecture(separator_token=3, embedding=embedding, embedding_size=8)
    check_stages(model)
    counts = []
    for each in (model, model.model_copy(update={"separator_token": None})):
        plan = cut(*stage_function(each, secure_stages(each, "logits")[0], 1, LENGTH), BITS)
        counts.append(sum(isinstance(step, Exchange) for step in plan.steps))
    assert counts[0] == counts[1]  # the product by the segment shares others' messages


@pytest.mark.parametrize("attention", ["softmax", "2quad-freediv", "relu-freediv"])
def test_a_relative_bias_costs_no_exchange(attention: str):
    model = architecture(attention=attention, activation="quad", relative_buckets=8, token_types=0)
    check_stages(model)
    counts = []
    for each in (model, model.model_copy(update={"relative_buckets": 0})):
        plan = cut(*stage_function(each, secure_stages(each, "logits")[1], 1, LENGTH), BITS)
        counts.append([len(step.summands) for step in plan.steps if isinstance(step, Exchange)])
    assert counts[0] == counts[1]


def test_three_labels():
    check_stages(architecture(label_names=("a", "b", "c")), output="label")


RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(4, 6)).astype(np.float32), RNG.normal(size=(4, 6)).astype(np.float32)
POSITIVE = np.abs(X) + 0.5
COLUMN, SCALAR = np.float32([[0.5], [1], [2], [-3]]), np.float32(1.5)


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (lambda x, y: x * y + x, [X, Y]),
        (lambda x: x * x * x, [X]),
        (lambda x: x**5, [X]),
        (lambda x: x / 3 - 2.5 * x, [X]),
        (lambda x: (x * 0.3 + 0.7) * 1e-3, [X]),
        (lambda x: 1000.25 * x, [X]),
        (lambda x, y: x / y, [X, POSITIVE]),
        (lambda x, y: x / jnp.sum(y, axis=-1, keepdims=True), [X, POSITIVE]),
        (lambda x: 2.0 / x, [POSITIVE]),
        (lambda x: jnp.mean(jnp.square(x - jnp.mean(x, -1, keepdims=True)), -1), [X]),
        (lambda x, y: x * y - y, [X, COLUMN]),
        (lambda x, a: a * x + a, [X, SCALAR]),
        (lambda x: jnp.where(x > 0, x, 0.1 * x), [X]),
        (lambda x, y: jnp.einsum("ij,kj->ik", x, y), [X, Y]),
        (lambda x, y: jnp.einsum("ij,ij->j", x, y), [X, Y]),
        (lambda x: jnp.concatenate([x * x, x[:, :1], jnp.ones((4, 1))], 1), [X]),
        (lambda x: (x * x * 0.5 + 0.25).sum() * 0.125, [X]),
        (lambda x: jax.nn.softmax(x, axis=-1), [X]),
        (lambda x: jnp.tanh(x) * jnp.exp(x) + jnp.maximum(x, 0), [X]),
        (lambda x: x @ np.float32(np.ones((6, 2)) / 3), [X]),
        (lambda x: (jnp.ones((4, 6)) + jnp.arange(6)) * x, [X]),
        (lambda x: x, [X]),
        (lambda x, y: x * y - jnp.sum(x * y, -1, keepdims=True), [X, Y]),
        (lambda x: standardise(x, 1e-6), [X]),
        (jnp.exp, [X]),
        (lambda x: jnp.sort(jnp.exp(x) * x) * x, [X]),
    ],
)
def test_functions_of_all_sorts(function: Callable[..., jax.Array], arrays: list[np.ndarray]):
    want, got = both(function, arrays)
    np.testing.assert_allclose(got, want, atol=3e-4 * max(1.0, float(np.abs(want).max())))


@pytest.mark.parametrize("width", [32, 384, 768])
def test_a_row_at_the_edge_of_its_headroom_is_normalised(width: int) -> None:
    """A bit is left of what the ring holds, and of what has a root: no summand on the way has too little room."""
    model = architecture(hidden=width, heads=1, embedding_size=width)
    x = np.random.default_rng(0).normal(size=(4, width)).astype(np.float32)
    longest = 2.0 ** (CAPACITY_BITS - 1.01) / squares_per_variance(model.hidden)
    x *= np.float32(np.sqrt(longest)) / np.sqrt(np.square(x).mean(-1, keepdims=True))
    want, got = both(lambda x: standardise(x, 1e-6), [x])
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-3 * np.abs(want).max())


def exchanges(function: Callable[..., jax.Array], *arrays: np.ndarray) -> list[Exchange]:
    return [s for s in cut(function, [a.shape for a in arrays], BITS).steps if isinstance(s, Exchange)]


def test_independent_products_share_their_messages():
    found = exchanges(lambda x, y: (x * y) * jnp.square(x + y), X, Y)
    assert [len(e.summands) for e in found] == [2, 1]


def test_bias_residual_and_halves_cost_nothing():
    assert len(exchanges(lambda x, y: 0.5 * (x * y) + y + 1.25, X, Y)) == 1


def test_a_small_sum_and_what_is_made_of_it_are_exchanged_together():
    def function(x: jax.Array) -> jax.Array:
        u = jnp.sum(jnp.square(x), -1)
        return u * (1.5 - 0.25 * u)

    found = exchanges(function, X)
    assert [len(e.summands) for e in found] == [2, 1]


def test_a_mean_over_a_power_of_two_is_exchanged_with_what_it_is_taken_from():
    def function(x: jax.Array, y: jax.Array) -> jax.Array:
        z = x * y
        return jnp.square(z - jnp.mean(z, -1, keepdims=True))

    wide = np.zeros((4, 64), np.float32)
    found = exchanges(function, wide, wide)
    assert [len(e.summands) for e in found] == [2, 1]


def test_a_sum_of_products_is_exchanged_after_it_is_summed():
    plan = cut(lambda x: jnp.sum(jnp.square(x), -1), [X.shape], BITS)
    (exchange,) = [s for s in plan.steps if isinstance(s, Exchange)]
    summed = next(s.output for s in plan.steps if isinstance(s, Local) and s.operation == "reduce_sum")
    assert exchange.summands == (summed,)


def test_all_that_only_spu_reads_between_two_of_its_operations_stays_with_it():
    plan = cut(lambda x: jnp.exp(x - jnp.max(x, -1, keepdims=True)), [X.shape], BITS)
    (call,) = [s for s in plan.steps if isinstance(s, Call)]
    assert [e.name for e in call.equations] == ["reduce_max", "broadcast_in_dim", "sub", "exp"]


def test_a_row_is_divided_by_one_reciprocal():
    plan = cut(lambda x: x / jnp.sum(x, -1, keepdims=True), [X.shape], BITS)
    (call,) = [s for s in plan.steps if isinstance(s, Call)]
    assert call.shapes in (((4,),), ((4, 1),))


def test_matrices_of_weights_are_packed_and_other_parameters_are_not():
    def function(weight: jax.Array, bias: jax.Array, tied: jax.Array, x: jax.Array) -> jax.Array:
        return (x @ weight + bias) @ tied + tied[0]

    shapes = [(6, 5), (5,), (5, 4), (3, 6)]
    assert packed_arguments(function, shapes) == cut(function, shapes, BITS).packed == {0}


def test_a_layer_takes_so_many_exchanges_and_truncations_and_only_its_roots_are_left_to_spu():
    found = {}
    for norm in ("layernorm", "layernorm-constant"):
        model = architecture(attention="2quad-freediv", activation="quad", attention_norm=norm, feed_forward_norm=norm)
        model = model.model_copy(update={"pooling": "mean"})  # which reads all rows of the last layer, too
        for stage in secure_stages(model, "logits")[1:3]:
            plan = cut(*stage_function(model, stage, 1, LENGTH), BITS)
            truncated = [len(s.summands) for s in plan.steps if isinstance(s, Exchange)]
            calls = [[e.name for e in s.equations] for s in plan.steps if isinstance(s, Call)]
            assert all("gt" in names for names in calls)  # the comparisons of the root
            found[norm, stage.block] = len(truncated), sum(truncated), len(calls)
            if norm == "layernorm-constant":  # no bit is dropped, and paid for, that a product did not add
                assert {bits for s in plan.steps if isinstance(s, Exchange) for bits in s.shifts} == {BITS + 1}
    assert found["layernorm", "attention"] == (11, 16, 1)
    assert found["layernorm", "feed_forward"] == (9, 11, 1)
    assert found["layernorm-constant", "attention"] == (6, 10, 0)
    assert found["layernorm-constant", "feed_forward"] == (4, 5, 0)


def test_a_number_of_each_row_joins_the_row_without_an_exchange_of_its_own():
    def function(x: jax.Array, weight: jax.Array, mean: jax.Array) -> jax.Array:
        return x * weight - (x @ mean).reshape(4, 1)

    wide = [np.zeros(shape, np.float32) for shape in ((4, 96), (96,), (96, 1))]
    assert [len(e.summands) for e in exchanges(function, *wide)] == [1]
    # What others read too is exchanged while it is small.
    assert len(exchanges(lambda x, w, m: (x * w - (s := (x @ m).reshape(4, 1))) + s * s, *wide)) == 2


def test_a_plan_is_the_same_wherever_it_is_made_and_differs_where_anything_does():
    def digest(function: Callable[..., jax.Array]) -> str:
        return cut(function, [(4, 6)], BITS).digest([])

    assert digest(lambda x: x * x + 0.5) == digest(lambda x: x * x + 0.5)
    assert len({digest(f) for f in (lambda x: x * x + 0.5, lambda x: x * x + 0.75, lambda x: x * x - 0.5)}) == 3
