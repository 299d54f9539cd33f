"""DeBERTa v2 and v3 in all that their configurations vary, against a plain numpy reading of the published formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.model import fold, forward, hidden_states, prepare_inputs, read_model, read_pretrained, write_model
from freediv.model.functions.disentangled import Disentangled
from safetensors.numpy import load_file, save_file
from scipy.special import erf

HIDDEN, HEADS, INNER, WORDS, LONGEST = 16, 4, 24, 40, 48
V3 = {"pos_att_type": "p2c|c2p", "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
      "position_biased_input": False, "relative_attention": True}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "v3": V3,
    "v3-of-large-buckets": V3 | {"position_buckets": 256},
    "a-list-and-own-maps": V3 | {"pos_att_type": ["c2p", "p2c"], "share_att_key": False},
    "c2p": V3 | {"pos_att_type": ["c2p"], "share_att_key": False, "norm_rel_ebd": "none"},
    "p2c-without-buckets": V3 | {"pos_att_type": "P2C ", "position_buckets": -1, "max_relative_positions": 6},
    "farther-than-it-says": V3 | {"max_relative_positions": 12},
    "positions-and-types": V3 | {"position_biased_input": True, "type_vocab_size": 2},
    "narrow": V3 | {"position_biased_input": True, "type_vocab_size": 2, "embedding_size": 10},
    "terms-without-a-table": V3 | {"relative_attention": False},
    "as-bert": {"position_biased_input": True, "pooler_hidden_act": "tanh"},
}


def write(directory: Path, **fields: Any) -> Path:
    """A classifier as Hugging Face writes it, with random weights."""
    config = {
        "architectures": ["DebertaV2ForSequenceClassification"], "model_type": "deberta-v2", "vocab_size": WORDS,
        "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": HEADS, "intermediate_size": INNER,
        "max_position_embeddings": LONGEST, "id2label": {"0": "a", "1": "b", "2": "c"}, "layer_norm_eps": 1e-3,
    } | fields  # fmt: skip
    width = config.get("embedding_size", HIDDEN)
    shapes: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings.weight": (WORDS, width)}
    if config["position_biased_input"]:
        shapes["embeddings.position_embeddings.weight"] = (LONGEST, width)
    if config.get("type_vocab_size"):
        shapes["embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], width)
    if width != HIDDEN:
        shapes["embeddings.embed_proj.weight"] = (HIDDEN, width)
    linear, norms = {}, ["embeddings.LayerNorm"]
    if config.get("relative_attention"):
        farthest = config.get("max_relative_positions", -1)
        rows = next(one for one in (config["position_buckets"], farthest, LONGEST) if one > 0)
        shapes["encoder.rel_embeddings.weight"] = (2 * rows, HIDDEN)
        norms += ["encoder.LayerNorm"] if config["norm_rel_ebd"] == "layer_norm" else []
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        own = [f"{part}_proj" for part in ("query", "key", "value")]
        if config.get("relative_attention") and not config["share_att_key"]:
            own += ["pos_key_proj"] + ["pos_query_proj"] * ("p2c" in config["pos_att_type"])
        linear |= {f"{layer}.attention.self.{part}": (HIDDEN, HIDDEN) for part in own}
        linear |= {f"{layer}.attention.output.dense": (HIDDEN, HIDDEN), f"{layer}.intermediate.dense": (INNER, HIDDEN)}
        linear[f"{layer}.output.dense"] = (HIDDEN, INNER)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes |= {f"{norm}.{part}": (HIDDEN,) for norm in norms for part in ("weight", "bias")}
    shapes = {f"deberta.{name}": shape for name, shape in shapes.items()}
    shapes |= {"pooler.dense.weight": (HIDDEN, HIDDEN), "pooler.dense.bias": (HIDDEN,)}
    shapes |= {"classifier.weight": (3, HIDDEN), "classifier.bias": (3,)}
    random = np.random.default_rng(0)
    tensors = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    directory.mkdir(exist_ok=True)
    save_file(tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def published_row(distance: int, buckets: int, farthest: int, span: int) -> int:
    """Of query's place less key's, the row of the table: He et al. 2021, equation 3, with the buckets of v2."""
    found = distance
    if buckets > 0 and abs(distance) > (half := buckets // 2):
        wide = math.ceil(math.log(abs(distance) / half) / math.log((farthest - 1) / half) * (half - 1))
        found = (half + wide) * (1 if distance > 0 else -1)
    return min(max(found + span, 0), 2 * span - 1)


def plain(directory: Path, ids: np.ndarray, types: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Hidden states of one text, and logits: He et al. 2021, equation 4, on BERT's layers, written out."""
    config, tensors = json.loads((directory / "config.json").read_text()), load_file(directory / "model.safetensors")

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
        return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors.get(f"{name}.bias", np.float32(0))

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * (1 + erf(x / math.sqrt(2))) / 2

    length, size = len(ids), HIDDEN // HEADS
    x = tensors["deberta.embeddings.word_embeddings.weight"][ids]
    if config["position_biased_input"]:
        x = x + tensors["deberta.embeddings.position_embeddings.weight"][:length]
    if config.get("type_vocab_size"):
        x = x + tensors["deberta.embeddings.token_type_embeddings.weight"][types]
    if "deberta.embeddings.embed_proj.weight" in tensors:
        x = linear(x, "deberta.embeddings.embed_proj")
    x = norm(x, "deberta.embeddings.LayerNorm")
    terms = [term for term in ("c2p", "p2c") if term in str(config.get("pos_att_type")).lower()]
    relative = config.get("relative_attention", False)
    if relative:
        table = tensors["deberta.encoder.rel_embeddings.weight"]
        if config["norm_rel_ebd"] == "layer_norm":
            table = norm(table, "deberta.encoder.LayerNorm")
        farthest = config.get("max_relative_positions", LONGEST)
    kept = [x]
    for layer in ("deberta.encoder.layer.0", "deberta.encoder.layer.1"):
        own = f"{layer}.attention.self"
        q, k, v = (linear(x, f"{own}.{part}_proj").reshape(length, HEADS, size) for part in ("query", "key", "value"))
        scores = np.einsum("qhd,khd->hqk", q, k)
        if relative:
            key_of, query_of = ("key", "query") if config["share_att_key"] else ("pos_key", "pos_query")
            for i in range(length):
                for j in range(length):
                    row = published_row(i - j, config["position_buckets"], farthest, len(table) // 2)
                    if "c2p" in terms:
                        distance = linear(table[row], f"{own}.{key_of}_proj").reshape(HEADS, size)
                        scores[:, i, j] += np.sum(q[i] * distance, axis=-1)
                    if "p2c" in terms:
                        distance = linear(table[row], f"{own}.{query_of}_proj").reshape(HEADS, size)
                        scores[:, i, j] += np.sum(k[j] * distance, axis=-1)
        scores = scores / math.sqrt(size * (1 + len(terms)))
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        context = np.einsum("hqk,khd->qhd", weights, v).reshape(length, HIDDEN)
        x = norm(x + linear(context, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = gelu(linear(x, f"{layer}.intermediate.dense"))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        kept.append(x)
    pooled = linear(x[0], "pooler.dense")
    pooled = np.tanh(pooled) if config.get("pooler_hidden_act") == "tanh" else gelu(pooled)
    return kept, linear(pooled, "classifier")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_deberta_directory_gives_what_the_formulas_say(variant: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "model", **VARIANTS[variant])
    model = read_model(directory)
    architecture = model.architecture.model_copy(update={"separator_token": 3})
    ids = np.random.default_rng(1).integers(4, WORDS, 40)
    ids[[20, 39]] = 3
    types = (np.arange(40) > 20).astype(int)
    kept, logits = plain(directory, ids, types)
    token_ids, mask = np.pad(ids, (0, 8))[None], (np.arange(48) < 40)[None] * 1.0
    found, found_logits = hidden_states(architecture, model.parameters, {"token_ids": token_ids, "mask": mask})
    for one, wanted in zip(found, kept, strict=True):
        np.testing.assert_allclose(one[0, :40], wanted, atol=2e-4)
    np.testing.assert_allclose(found_logits[0], logits, atol=2e-4)
    inputs = prepare_inputs(architecture, token_ids, mask)
    secure = forward(architecture, fold(architecture, model.parameters), inputs, folded=True)
    np.testing.assert_allclose(secure[0], logits, atol=5e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_written_deberta_reads_back_and_trains_from_an_encoder(variant: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "model", **VARIANTS[variant])
    model = read_model(directory)
    write_model(model, tmp_path / "again")
    before, after = (load_file(one / "model.safetensors") for one in (directory, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert read_model(tmp_path / "again").architecture == model.architecture
    if (attention := model.parameters["encoder.1.attention"]).get("distances") is not None:
        attention["distances"] += 1  # tables may differ between layers once trained
        write_model(model, tmp_path / "trained")
        again = read_model(tmp_path / "trained")
        for stage, own in model.parameters.items():
            for name, value in own.items():
                np.testing.assert_array_equal(again.parameters[stage][name], value)
    fresh = read_pretrained(directory, ("yes", "no"))
    assert fresh.parameters["classifier"]["weight"].shape == (16, 2)
    np.testing.assert_array_equal(fresh.parameters["embedding"]["word"], model.parameters["embedding"]["word"])


def test_a_distance_has_the_row_of_its_bucket() -> None:
    for span, buckets, farthest in ((256, 256, 512), (8, 8, 20), (7, 7, 48), (32, 32, 8), (6, 0, 0)):
        scores = Disentangled(span=span, buckets=buckets, farthest=farthest)
        distances = np.arange(-200, 201)
        found = scores.rows_of(distances)
        assert found.tolist() == [published_row(one, buckets, farthest, span) for one in distances.tolist()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size is 3"),
        ({"attention_head_size": 8}, "attention_head_size is 8; freediv reads 4"),
        ({"pooler_hidden_size": 8}, "pooler_hidden_size is 8; freediv reads 16"),
        ({"pooler_hidden_act": "mish"}, "pooler_hidden_act 'mish' is not known"),
    ],
)
def test_what_deberta_may_be_and_is_not_read_is_named(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "model", **V3)
    config = json.loads((directory / "config.json").read_text()) | fields
    (directory / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read_model(directory)


@pytest.mark.parametrize("ending", ["ForTokenClassification", "Model"])
def test_pieces_and_vectors_have_no_pooler(ending: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "model", architectures=[f"DebertaV2{ending}"], **V3)
    ids = np.random.default_rng(1).integers(4, WORDS, 9)
    rows = plain(directory, ids, 0 * ids)[0][-1]
    tensors = load_file(directory / "model.safetensors")
    wanted = rows.mean(0) if ending == "Model" else rows @ tensors["classifier.weight"].T + tensors["classifier.bias"]
    save_file({k: v for k, v in tensors.items() if "pooler" not in k}, directory / "model.safetensors")
    model = read_model(directory)
    inputs = {"token_ids": ids[None], "mask": np.ones((1, 9))}
    np.testing.assert_allclose(forward(model.architecture, model.parameters, inputs)[0], wanted, atol=2e-4)
