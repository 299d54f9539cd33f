"""ModernBERT: what transformers gives, and each of its parts by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from freediv.conversion.measures.predictions import rows_of
from freediv.errors import UserError
from freediv.model import (
    Architecture,
    Model,
    encode,
    fold,
    forward,
    initial_parameters,
    parameter_shapes,
    prepare_inputs,
    read_model,
    read_pretrained,
    read_tokenizer,
    write_model,
)
from freediv.model.functions.activation import ACTIVATIONS
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.rotary import turned
from freediv.model.functions.window import Window
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

DIRECTORY = Path(__file__).parent / "families" / "modernbert-classifier"
EXPECTED = json.loads((DIRECTORY / "expected.json").read_text(encoding="utf-8"))
PARTS = {
    "norm_first": True,
    "final_norm": "layernorm",
    "absolute_positions": False,
    "token_types": 0,
    "rotary": {"theta": 1000.0, "window_theta": 50.0},
    "window": {"reach": 3, "every": 2},
    "gated": True,
    "without_bias": ("attention", "feed_forward", "norm", "classifier"),
    "pooling": "mean",
    "pooler": "gelu",
    "pooler_norm": "layernorm",
}
"""All that is ModernBERT's, in a tiny architecture."""


def changed(directory: Path, **keys: object) -> Path:
    """A copy with other keys in its configuration; None: without them."""
    shutil.copytree(DIRECTORY, directory)
    config = json.loads((DIRECTORY / "config.json").read_text(encoding="utf-8")) | keys
    kept = {key: value for key, value in config.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return directory


def padded() -> tuple[np.ndarray, np.ndarray]:
    """The expected texts' ids and masks, padded as they were."""
    rows = [item["input_ids"] for item in EXPECTED["items"]]
    mask = np.arange(EXPECTED["padded_to"]) < np.array([len(row) for row in rows])[:, None]
    ids = np.zeros(mask.shape, np.int32)
    ids[mask] = np.concatenate(rows)
    return ids, mask.astype(np.float32)


def model_of(**fields: object) -> Model:
    """Random, and no norm's weight and no constant is one or zero."""
    chosen = tiny.architecture(**PARTS | fields)
    random = np.random.default_rng(0)
    parameters = initial_parameters(chosen, 0, scale=0.3)
    for own in parameters.values():
        for name in own:
            own[name] = (own[name] + random.normal(0, 0.2, own[name].shape) ** 2).astype(np.float32)
    return Model(chosen, parameters)


def test_texts_get_the_ids_and_the_logits_that_transformers_gives() -> None:
    model, tokenizer = read_model(DIRECTORY), read_tokenizer(DIRECTORY)
    found = encode(tokenizer, [item["texts"][0] for item in EXPECTED["items"]], 64, model.architecture.vocabulary)
    for ids, item in zip(found, EXPECTED["items"], strict=True):
        assert ids.tolist() == item["input_ids"]
        inputs = {"token_ids": ids[None], "mask": np.ones((1, len(ids)))}
        np.testing.assert_allclose(forward(model.architecture, model.parameters, inputs)[0], item["output"], atol=1e-5)
    ids, mask = padded()
    logits = forward(model.architecture, model.parameters, {"token_ids": ids, "mask": mask})
    np.testing.assert_allclose(logits, EXPECTED["padded_outputs"], atol=1e-5)


def test_its_usual_tokenizer_is_read_bytes_and_runs_of_spaces_and_all(tmp_path: Path) -> None:
    """As the published ones are: byte-level BPE after NFC, and added pieces for runs of spaces."""
    directory = changed(tmp_path / "model")
    usual = Tokenizer(models.BPE(unk_token="[UNK]"))
    usual.normalizer = normalizers.NFC()
    usual.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    usual.train_from_iterator(
        tiny.SENTENCES, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    usual.add_tokens([AddedToken("   ", normalized=True), AddedToken("|||EMAIL_ADDRESS|||", normalized=True)])
    usual.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    usual.decoder = decoders.ByteLevel()
    usual.save(str(directory / "tokenizer.json"))
    found = read_tokenizer(directory)
    for texts in (("the film   was cafe\u0301 \U0001f600",), ("a warm film", "no story")):
        assert found.encode(*texts).ids == usual.encode(*texts).ids
    assert found.encode("cafe\u0301").ids == found.encode("caf\u00e9").ids


def test_newer_configurations_say_the_same_layer_by_layer(tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    bases = {"full_attention": {"rope_theta": 160000.0}, "sliding_attention": {"rope_theta": 10000.0}}
    old = dict.fromkeys(("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"))
    new = changed(tmp_path / "new", **old, layer_types=kinds, rope_parameters=bases)
    assert read_model(new).architecture == read_model(DIRECTORY).architecture
    mixed = changed(tmp_path / "mixed", **old, layer_types=["sliding_attention", *kinds[1:]])
    with pytest.raises(UserError, match="layer_types: other layers"):
        read_model(mixed)
    bases["full_attention"] |= {"rope_type": "yarn"}
    with pytest.raises(UserError, match="rope_type is 'yarn'"):
        read_model(changed(tmp_path / "yarn", rope_parameters=bases))


@pytest.mark.parametrize(
    ("key", "value"), [("classifier_pooling", "max"), ("classifier_activation", "mish"), ("hidden_activation", "mish")]
)
def test_what_is_not_known_is_refused_by_name(key: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{key} '{value}' is not known"):
        read_model(changed(tmp_path / "model", **{key: value}))


def test_biases_are_read_where_the_configuration_has_them(tmp_path: Path) -> None:
    directory = changed(tmp_path / "model", attention_bias=True)
    with pytest.raises(UserError, match=r"attn\.Wqkv\.bias is missing"):
        read_model(directory)
    model = read_model(DIRECTORY)
    assert not any(
        name.endswith("bias") for stage, own in model.parameters.items() for name in own if stage != "classifier"
    )
    assert "pooler.bias" not in model.parameters["classifier"]
    write_model(model, tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text(encoding="utf-8"))
    assert not any(written[key] for key in ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"))


def test_an_encoder_gets_a_head_whose_norm_is_one(tmp_path: Path) -> None:
    fresh = read_pretrained(DIRECTORY, ("yes", "no"))
    own = fresh.parameters["classifier"]
    np.testing.assert_array_equal(own["pooler.norm.weight"], np.ones(32))
    np.testing.assert_array_equal(own["norm.weight"], read_model(DIRECTORY).parameters["classifier"]["norm.weight"])
    assert own["weight"].shape == (32, 2)


@pytest.mark.parametrize("attention", [name for name in ATTENTIONS if name != "none"])
def test_every_attention_folds_and_padding_changes_nothing(attention: str) -> None:
    check_folding(model_of(attention=attention, pooler="relu"))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_gated_activation_folds(activation: str) -> None:
    check_folding(model_of(activation=activation))


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("without", [(), ("norm",)])
def test_every_pooling_folds_with_biases_and_without(pooling: str, without: tuple[str, ...]) -> None:
    check_folding(model_of(pooling=pooling, without_bias=without))


def check_folding(model: Model) -> None:
    chosen, folded = model.architecture, fold(model.architecture, model.parameters)
    shapes = {stage: {name: np.shape(value) for name, value in own.items()} for stage, own in folded.items()}
    assert shapes == parameter_shapes(chosen, folded=True)
    mask = (np.arange(16) < np.array([[5], [16]])).astype(np.float32)
    ids = np.random.default_rng(1).integers(0, 40, mask.shape).astype(np.int32)
    plain = np.asarray(forward(chosen, model.parameters, {"token_ids": ids, "mask": mask}))
    secure = np.asarray(forward(chosen, folded, prepare_inputs(chosen, ids, mask), folded=True))
    size = np.abs(plain).max()
    np.testing.assert_allclose(secure, plain, rtol=1e-3, atol=1e-3 * size)
    [alone] = np.asarray(forward(chosen, model.parameters, {"token_ids": ids[:1, :5], "mask": mask[:1, :5]}))
    np.testing.assert_allclose(plain[0], alone, rtol=1e-3, atol=1e-3 * size)
    assert np.ptp(plain, axis=0).max() > 1e-3 * size


def test_what_queries_and_keys_have_in_common_depends_on_their_distance_alone() -> None:
    """Su et al. 2021, equation 10: of a pair (x, y) as a complex number, its place's power of a unit number."""
    random = np.random.default_rng(0)
    query, key = (np.broadcast_to(random.normal(size=8), (1, 12, 8)).astype(np.float32) for _ in range(2))
    q, k = (np.asarray(turned(jnp.asarray(x), 100.0))[0] for x in (query, key))
    np.testing.assert_allclose(np.linalg.norm(q, axis=-1), np.linalg.norm(query[0, 0]), rtol=1e-5)
    scores = q @ k.T
    for distance in range(-5, 6):
        along = np.diagonal(scores, distance)
        np.testing.assert_allclose(along, along[0], rtol=1e-4, atol=1e-5)
    as_pairs = query[0, 0, :4] + 1j * query[0, 0, 4:]
    wanted = as_pairs * np.exp(1j * 7 * 100.0 ** (-np.arange(4) / 4))
    np.testing.assert_allclose(q[7], [*wanted.real, *wanted.imag], rtol=1e-4, atol=1e-5)


def test_a_layer_with_a_window_sees_no_place_beyond_it() -> None:
    """One layer of two sees all; of those that do not, so many places count as a window has."""
    window = Window(reach=3, every=2)
    assert [window.on(layer) for layer in range(4)] == [False, True, False, True]
    for attention in ("softmax", "2quad-freediv"):
        chosen = tiny.architecture(**PARTS | {"attention": attention, "pooling": "first"})
        near = Architecture(**chosen.model_dump() | {"layers": 2, "window": {"reach": 3, "every": 1}})
        assert not any(near.window.on(layer) for layer in range(2))
        model = Model(chosen, initial_parameters(chosen, 0, scale=0.3))
        # What the first layer adds is as nothing: only the second tells places apart.
        model.parameters["encoder.0.attention"]["output.weight"] *= 0
        ids = np.arange(16, dtype=np.int32)[None] + 4
        first = logits_of(model, ids)
        for place, changes in ((3, True), (4, False), (15, False)):
            other = ids.copy()
            other[0, place] = 39
            assert np.array_equal(logits_of(model, other), first) != changes, (attention, place)
    mask = np.array([[1.0] * 5 + [0.0] * 11, [1.0] * 16])
    np.testing.assert_allclose(window.mean(mask).max(-1), [1 / 5, 1 / 7])


def logits_of(model: Model, ids: np.ndarray) -> np.ndarray:
    return np.asarray(forward(model.architecture, model.parameters, {"token_ids": ids, "mask": np.ones(ids.shape)}))


def test_an_encoders_rows_are_those_whose_mean_is_its_vector() -> None:
    """Its last norm has no bias to give."""
    model = model_of(answer="vector", pooler="none", pooler_norm="none", label_names=())
    ids = np.arange(3, 12)
    [rows] = rows_of(model, [ids])
    vector = forward(model.architecture, model.parameters, {"token_ids": ids[None], "mask": np.ones((1, 9))})[0]
    np.testing.assert_allclose(rows.mean(0), vector, atol=1e-4)
