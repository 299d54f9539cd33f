"""MPNet against a plain numpy reading of its published formulas, and folded."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from freediv.model import (
    fold,
    forward,
    hidden_states,
    parameter_shapes,
    prepare_inputs,
    read_model,
    read_pretrained,
    write_model,
)
from freediv.model.functions.relative import bucket_of, score_bias
from safetensors.numpy import load_file, save_file
from scipy.special import erf
from test_functions import REAL_ATTENTIONS, batch, perturbed
from tiny import architecture as tiny_architecture

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
EPSILON = 1e-5


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A classifier as Hugging Face writes it, with random weights."""
    random = np.random.default_rng(0)
    hidden, inner = SIZES["hidden_size"], SIZES["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "mpnet.embeddings.word_embeddings.weight": (40, hidden),
        "mpnet.embeddings.position_embeddings.weight": (152, hidden),
        "mpnet.encoder.relative_attention_bias.weight": (32, 4),
        "classifier.dense.weight": (hidden, hidden),
        "classifier.dense.bias": (hidden,),
        "classifier.out_proj.weight": (3, hidden),
        "classifier.out_proj.bias": (3,),
    }
    for norm in ("embeddings.LayerNorm", *(f"encoder.layer.{i}.{n}" for i in range(2) for n in
                                           ("attention.LayerNorm", "output.LayerNorm"))):  # fmt: skip
        shapes |= {f"mpnet.{norm}.weight": (hidden,), f"mpnet.{norm}.bias": (hidden,)}
    for i in range(2):
        for part in "qkvo":
            shapes[f"mpnet.encoder.layer.{i}.attention.attn.{part}.weight"] = (hidden, hidden)
            shapes[f"mpnet.encoder.layer.{i}.attention.attn.{part}.bias"] = (hidden,)
        for part, shape in (("intermediate", (inner, hidden)), ("output", (hidden, inner))):
            shapes[f"mpnet.encoder.layer.{i}.{part}.dense.weight"] = shape
            shapes[f"mpnet.encoder.layer.{i}.{part}.dense.bias"] = shape[:1]
    save_file(
        {k: random.normal(0, 0.5, s).astype(np.float32) for k, s in shapes.items()}, tmp_path / "model.safetensors"
    )
    labels = {"0": "a", "1": "b", "2": "c"}
    config = {"architectures": ["MPNetForSequenceClassification"], "model_type": "mpnet"}
    config |= {"max_position_embeddings": 152, "relative_attention_num_buckets": 32}
    config |= {"layer_norm_eps": EPSILON, "pad_token_id": 1, "hidden_act": "gelu", "id2label": labels, **SIZES}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def published_bucket(query: int, key: int) -> int:
    """T5's and MPNet's, for one pair of places, with 32 buckets and distances up to 128."""
    bucket, n = (16 if key > query else 0), abs(key - query)
    if n < 8:
        return bucket + n
    return bucket + min(15, 8 + int(np.float32(math.log(np.float32(n / 8))) / math.log(128 / 8) * 8))


def plain(tensors: dict[str, np.ndarray], ids: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Hidden states of one text, and logits: Song et al. 2020 on BERT's layers, written out."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    length, table = len(ids), tensors["mpnet.encoder.relative_attention_bias.weight"]
    bias = np.array([[table[published_bucket(q, k)] for k in range(length)] for q in range(length)])
    positions = tensors["mpnet.embeddings.position_embeddings.weight"][2 : 2 + length]
    x = norm(tensors["mpnet.embeddings.word_embeddings.weight"][ids] + positions, "mpnet.embeddings.LayerNorm")
    kept = [x]
    for i in range(2):
        layer = f"mpnet.encoder.layer.{i}"
        q, k, v = (linear(x, f"{layer}.attention.attn.{part}").reshape(length, 4, 4) for part in "qkv")
        scores = np.einsum("qhd,khd->hqk", q, k) / 2 + bias.transpose(2, 0, 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        context = np.einsum("hqk,khd->qhd", weights, v).reshape(length, 16)
        x = norm(x + linear(context, f"{layer}.attention.attn.o"), f"{layer}.attention.LayerNorm")
        inner = linear(x, f"{layer}.intermediate.dense")
        inner = inner * (1 + erf(inner / math.sqrt(2))) / 2
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        kept.append(x)
    return kept, linear(np.tanh(linear(x[0], "classifier.dense")), "classifier.out_proj")


@pytest.mark.parametrize("length", [5, 150])
def test_an_mpnet_directory_gives_what_the_formulas_say(directory: Path, length: int) -> None:
    model = read_model(directory)
    ids = np.random.default_rng(1).integers(0, 40, length)
    kept, logits = plain(load_file(directory / "model.safetensors"), ids)
    inputs = {"token_ids": np.pad(ids, (0, 150 - length))[None], "mask": (np.arange(150) < length)[None] * 1.0}
    found, found_logits = hidden_states(model.architecture, model.parameters, inputs)
    for one, wanted in zip(found, kept, strict=True):
        np.testing.assert_allclose(one[0, :length], wanted, atol=2e-4)
    np.testing.assert_allclose(found_logits[0], logits, atol=5e-4)


def test_a_written_mpnet_reads_back_and_trains_from_an_encoder(directory: Path, tmp_path: Path) -> None:
    model = read_model(directory)
    model.parameters["encoder.1.attention"]["relative"] += 1  # biases may differ between layers once trained
    write_model(model, tmp_path / "again")
    again = read_model(tmp_path / "again")
    assert again.architecture == model.architecture
    assert (again.architecture.positions, again.architecture.token_types) == (150, 0)
    for stage, own in model.parameters.items():
        for name, value in own.items():
            np.testing.assert_array_equal(again.parameters[stage][name], value)
    fresh = read_pretrained(directory, ("yes", "no"))
    assert fresh.parameters["classifier"]["weight"].shape == (16, 2)
    np.testing.assert_array_equal(fresh.parameters["embedding"]["word"], model.parameters["embedding"]["word"])


def test_the_bias_of_two_places_is_that_of_their_bucket() -> None:
    table = np.random.default_rng(2).normal(size=(32, 3)).astype(np.float32)
    for length in (1, 2, 200):
        found = np.asarray(score_bias(table, length))
        buckets = [[published_bucket(q, k) for k in range(length)] for q in range(length)]
        np.testing.assert_array_equal(found, table[np.array(buckets)].transpose(2, 0, 1))
    assert bucket_of(np.array([-500, 500]), 32).tolist() == [15, 31]


@pytest.mark.parametrize("attention", REAL_ATTENTIONS)
def test_a_relative_bias_folds_with_scale_and_shift(attention: str) -> None:
    architecture = tiny_architecture(attention=attention, relative_buckets=8, token_types=0)
    parameters = perturbed(architecture)
    token_ids, mask = batch([5, 16])
    plain = forward(architecture, parameters, {"token_ids": token_ids, "mask": mask})
    folded = fold(architecture, parameters)
    assert {s: {n: np.shape(v) for n, v in own.items()} for s, own in folded.items()} == parameter_shapes(
        architecture, folded=True
    )
    secure = forward(architecture, folded, prepare_inputs(architecture, token_ids, mask), folded=True)
    np.testing.assert_allclose(secure, plain, rtol=2e-4, atol=2e-5)
    without = {
        s: own | ({"relative": 0 * own["relative"]} if "relative" in own else {}) for s, own in parameters.items()
    }
    assert np.abs(forward(architecture, without, {"token_ids": token_ids, "mask": mask}) - plain).max() > 1e-4
