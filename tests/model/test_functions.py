"""Attention, activation and normalisation functions, folding, and checkpoints."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from freediv.errors import UserError
from freediv.model import (
    Certificate,
    LayerFunctions,
    Model,
    as_stored,
    bucket_for,
    fold,
    forward,
    hidden_states,
    initial_parameters,
    parameter_shapes,
    prepare_inputs,
    read_model,
    stages,
    write_model,
)
from freediv.model.functions.activation import ACTIVATIONS
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.norms import NORMALISATIONS
from freediv.model.pieces.pairs import second_text
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import PUBLISHED
from tokenizers import Tokenizer, models, pre_tokenizers, processors

REAL_ATTENTIONS = [name for name in ATTENTIONS if name != "none"]


def perturbed(architecture, seed=0):
    """Random parameters with constants away from their initial values, so that nothing is hidden by a zero."""
    random = np.random.default_rng(seed)
    parameters = initial_parameters(architecture, seed, scale=0.2)
    for own in parameters.values():
        for name in own:
            if name.startswith(("constants.", "norm.")):
                own[name] = (own[name] + random.uniform(0.01, 0.1, own[name].shape)).astype(np.float32)
    return parameters


def batch(lengths, vocabulary=40, seed=0):
    random = np.random.default_rng(seed)
    mask = (np.arange(16) < np.array(lengths)[:, None]).astype(np.float32)
    return np.where(mask > 0, random.integers(1, vocabulary, mask.shape), 0), mask


@pytest.mark.parametrize("attention", REAL_ATTENTIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", ["layernorm", "layernorm-constant"])
def test_folded_and_unfolded_logits_agree(attention, activation, norm):
    architecture = tiny.architecture(attention=attention, activation=activation, norm=norm, embedding_norm=norm)
    parameters = perturbed(architecture)
    token_ids, mask = batch([5, 16, 1])
    plain = forward(architecture, parameters, {"token_ids": token_ids, "mask": mask})
    folded = fold(architecture, parameters)
    shapes = {stage: {name: np.shape(value) for name, value in own.items()} for stage, own in folded.items()}
    assert shapes == parameter_shapes(architecture, folded=True)
    secure = forward(architecture, folded, prepare_inputs(architecture, token_ids, mask), folded=True)
    np.testing.assert_allclose(secure, plain, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"pooler": "identity"},
        {"pooler": "gelu"},
        {"pooler": "none"},
        {"embedding_size": 8},
        {"embedding_size": 12, "embedding_width": 12},
        {"embedding_size": 8, "embedding_width": 12, "attention": "softmax"},
        {"embedding_size": 16, "embedding_width": 16},
    ],
)
@pytest.mark.parametrize("embedding", ["secret", "public"])
def test_every_head_and_embedding_folds(changes, embedding):
    architecture = tiny.architecture(embedding=embedding, **changes)
    parameters = perturbed(architecture)
    token_ids, mask = batch([9, 2])
    inputs = prepare_inputs(architecture, token_ids, mask, table=parameters["embedding"]["word"])
    assert ("one_hot" in inputs) == (embedding == "secret")
    plain = forward(architecture, parameters, {"token_ids": token_ids, "mask": mask})
    secure = forward(architecture, fold(architecture, parameters), inputs, folded=True)
    np.testing.assert_allclose(secure, plain, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("attention", REAL_ATTENTIONS)
@given(real=st.integers(1, 15))
@settings(max_examples=5, deadline=None)
def test_padding_changes_no_logit(attention, real):
    architecture = tiny.architecture(attention=attention)
    parameters = perturbed(architecture)
    token_ids, mask = batch([real])
    padded = forward(architecture, parameters, {"token_ids": token_ids, "mask": mask})
    cut = forward(architecture, parameters, {"token_ids": token_ids[:, :real], "mask": mask[:, :real]})
    np.testing.assert_allclose(padded, cut, rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(scores=st.lists(st.floats(-4, 4), min_size=4, max_size=4), k=st.floats(0.1, 2.0))
def test_attention_functions_follow_their_formulas(scores, k):
    """Each formula of the registry, written out once more in numpy, for one head of size 4."""
    raw = np.array(scores, np.float64) * 2  # q k^T; s = q k^T / sqrt(4)
    s, m, length = np.array(scores, np.float64), np.array([1, 1, 1, 0.0]), 3
    constants = {"log_k": jnp.log(jnp.array([k])), "c": jnp.array([5.0])}
    e = np.exp(s - s.max()) * m
    expected = {
        "softmax": e / e.sum(),
        "2quad": (s + 5) ** 2 * m / ((s + 5) ** 2 * m).sum(),
        "2quad-freediv": k / length * (s + 5) ** 2 * m,
        "softmax-freediv": (1 + (s + np.log(k)) / 32) ** 32 * m / length,
        "relu-freediv": k / length * np.maximum(s, 0) * m,
        "relu2-freediv": k / length * np.maximum(s, 0) ** 2 * m,
    }
    for name, weights in expected.items():
        function = ATTENTIONS[name]
        scale, shift = function.affine({c: constants[c] for c in function.constants}, 4)
        x = raw[None, None, None] * np.reshape(scale, (-1, 1, 1)) + (
            0 if shift is None else np.reshape(shift, (-1, 1, 1))
        )
        mask = jnp.asarray(m)[None]
        found = function.weigh(jnp.asarray(x), mask if function.reads == "mask" else None)[0, 0, 0]
        if function.reads == "mask_over_length":
            found = found * mask[0] / length
        np.testing.assert_allclose(found, weights, rtol=1e-4, atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-6, 6), min_size=8, max_size=8), st.floats(0.05, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_quad_is_its_polynomial(values, a, b, c):
    function = ACTIVATIONS["quad"]
    scale, shift, offset = function.affine({"a": jnp.float32(a), "b": jnp.float32(b), "c": jnp.float32(c)})
    x = np.array(values)
    found = function.apply(jnp.asarray(x) * scale + shift) + offset
    np.testing.assert_allclose(found, a * x**2 + b * x + c, rtol=1e-3, atol=1e-3)


def test_constant_norm_is_layernorm_where_g_is_the_inverse_deviation():
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 6, 16)).astype(np.float32)
    x -= x.mean(-1, keepdims=True)
    x /= x.std(-1, keepdims=True)
    x[:, 0] *= 5
    own = {"weight": jnp.ones(16) * 1.5, "bias": jnp.ones(16)}
    exact = NORMALISATIONS["layernorm"].apply(x, own, 0.0, lambda *_: None)
    own["log_g"] = jnp.array([-np.log(5.0), 0.0])
    np.testing.assert_allclose(
        NORMALISATIONS["layernorm-constant"].apply(x, own, 0.0, lambda *_: None), exact, atol=1e-5
    )


def test_stages_of_equal_signature_differ_only_in_name():
    architecture = tiny.architecture(**PUBLISHED, layers=3)
    signatures = {stage.name: stage.signature for stage in stages(architecture, folded=True)}
    assert signatures["encoder.0.attention"] == signatures["encoder.1.attention"]
    assert signatures["encoder.1.feed_forward"] != signatures["encoder.2.feed_forward"]  # of the first row alone
    other = LayerFunctions(attention="2quad")
    mixed = architecture.model_copy(update={"functions": (LayerFunctions(), other, other)})
    signatures = {stage.name: stage.signature for stage in stages(mixed, folded=True)}
    assert signatures["encoder.0.attention"] != signatures["encoder.1.attention"]
    assert signatures["encoder.0.feed_forward"] == signatures["encoder.1.feed_forward"]


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_a_written_model_reads_back(tmp_path, weights):
    architecture = tiny.architecture(norm="layernorm-constant", embedding_size=8, pooler="identity")
    architecture = architecture.model_copy(update={"separator_token": 3})
    model = Model(architecture, perturbed(architecture), certificate=Certificate(headroom_bits=7.5))
    write_model(model, tmp_path / "model", weights=weights)
    again = read_model(tmp_path / "model")
    assert again.architecture == architecture
    assert again.certificate.headroom_bits == 7.5
    stored = as_stored(model, weights)
    for stage, own in model.parameters.items():
        for name, value in own.items():
            np.testing.assert_array_equal(again.parameters[stage][name], stored.parameters[stage][name])
            if weights == "int8":
                largest = np.abs(value).max()
                np.testing.assert_allclose(again.parameters[stage][name], value, atol=largest / 127 * 9 / 8 / 2)
            else:
                np.testing.assert_array_equal(again.parameters[stage][name], value.astype(weights).astype(np.float32))


def _break_config(**changes):
    def edit(directory):
        path = directory / "config.json"
        config = json.loads(path.read_text())
        for key, value in changes.items():
            config.pop(key) if value is None else config.update({key: value})
        path.write_text(json.dumps(config))

    return edit


def _truncate(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_break_config(model_type="gpt2"), "model_type is 'gpt2'"),
        (_break_config(model_type=["bert"]), r"model_type is \['bert'\]"),
        (_break_config(hidden_size=None), "hidden_size is missing"),
        (_break_config(hidden_act="mish"), "hidden_act 'mish' is not known"),
        (_break_config(num_attention_heads=3), "not a multiple of heads"),
        (_break_config(intermediate_size=48), "config.json asks for"),
        (_break_config(num_hidden_layers="many"), "invalid literal"),
        (_break_config(freediv={"atention": 1}), "atention"),
        (lambda d: (d / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda d: (d / "config.json").unlink(), "no config.json"),
        (lambda d: (d / "model.safetensors").unlink(), "not there"),
        (_truncate, "cannot be read as safetensors"),
    ],
)
def test_a_damaged_directory_is_named(tmp_path, damage, message):
    write_model(tiny.model(), tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(UserError, match=message) as caught:
        read_model(tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)


def test_a_missing_parameter_is_named(tmp_path):
    model = tiny.model()
    write_model(model, tmp_path / "model")
    write_model(replace(model, parameters={"classifier": model.parameters["classifier"]}), tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "model" / "model.safetensors")
    with pytest.raises(UserError, match=r"position_embeddings\.weight is missing"):
        read_model(tmp_path / "model")


def test_a_sentence_beyond_the_longest_bucket_is_refused():
    assert bucket_for(tiny.architecture().buckets, 17) == 32
    with pytest.raises(ValueError, match="33 word pieces; at most 32 are served"):
        bucket_for(tiny.architecture().buckets, 33)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_an_attention_function_shifts_scores_where_it_says_so(name):
    function = ATTENTIONS[name]
    _, shift = function.affine({constant: jnp.zeros(1) for constant in function.constants}, 4)
    assert function.shifts == (shift is not None)


def test_silu_is_x_times_its_logistic_function():
    x = np.linspace(-30, 30, 301)
    np.testing.assert_allclose(ACTIVATIONS["silu"].apply(jnp.asarray(x)), x / (1 + np.exp(-x)), rtol=1e-4, atol=1e-5)


def test_peers_approximations_are_near_what_they_approximate():
    """A wrong coefficient, sign or bound is off by more."""
    x = np.linspace(-8, 8, 2001).astype(np.float32)
    exact = np.asarray(ACTIVATIONS["gelu"].apply(x))
    assert np.abs(np.asarray(ACTIVATIONS["gelu-puma"].apply(x)) - exact).max() < 0.025
    assert np.abs(np.asarray(ACTIVATIONS["gelu-fourier"].apply(x)) - exact).max() < 0.05
    scores = jnp.asarray(np.random.default_rng(0).normal(0, 2, (1, 2, 6, 6)).astype(np.float32))
    mask = jnp.asarray([[1, 1, 1, 1, 1, 0]], jnp.float32)
    softmax, puma = (ATTENTIONS[name].weigh(scores, mask) for name in ("softmax", "softmax-puma"))
    assert np.abs(puma - softmax).max() < 0.03
    quad, goldschmidt = (ATTENTIONS[name].weigh(scores + 5, mask) for name in ("2quad", "2quad-goldschmidt"))
    assert np.abs(goldschmidt - quad).max() < 1e-3


def test_a_pairs_second_text_has_the_second_token_type_as_bert_has_it():
    """Type ids by the tokenizers library's BERT post-processor; the embedding written out in numpy."""
    words = ["pad", "cls", "sep", "a", "b", "c"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "pad"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("sep", 2), ("cls", 1))
    encoding = tokenizer.encode("a b", "c a a")
    ids = np.array([encoding.ids])
    np.testing.assert_array_equal(second_text(ids, 2)[0], encoding.type_ids)

    architecture = tiny.architecture(**PUBLISHED, separator_token=2)
    parameters = perturbed(architecture)
    own = parameters["embedding"]
    x = own["word"][ids] + own["position"][: ids.shape[1]] + own["token_type"][encoding.type_ids]
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) * own["norm.weight"] + own["norm.bias"]
    hidden, _ = hidden_states(architecture, parameters, {"token_ids": ids, "mask": np.ones(ids.shape)})
    np.testing.assert_allclose(hidden[0], x, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"embedding": "public"}, {"token_types": 0}, {"token_types": 1}])
def test_a_model_that_reads_pairs_folds(changes):
    architecture = tiny.architecture(separator_token=3, **changes)
    parameters = perturbed(architecture)
    token_ids, mask = batch([9, 16])
    token_ids[:, 4] = 3
    inputs = prepare_inputs(architecture, token_ids, mask, table=parameters["embedding"]["word"])
    assert ("segment" in inputs) == ("token_types" not in changes)
    plain = forward(architecture, parameters, {"token_ids": token_ids, "mask": mask})
    secure = forward(architecture, fold(architecture, parameters), inputs, folded=True)
    np.testing.assert_allclose(secure, plain, rtol=2e-4, atol=2e-5)
