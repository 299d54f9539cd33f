"""Every family: tensors and configuration both ways, folded, and what is its own."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.measures.bounds import stage_bounds
from freediv.conversion.measures.headroom import measure_headroom
from freediv.errors import UserError
from freediv.model import fold, forward, parameter_shapes, prepare_inputs, read_model, read_tokenizer, write_model
from freediv.model.families import FAMILIES
from safetensors.numpy import load_file, save_file
from test_functions import batch

DIRECTORIES = Path(__file__).parent / "families"
CLASSIFIERS = sorted(one.name for one in DIRECTORIES.glob("*-classifier"))


def config_of(directory: Path) -> dict:
    return json.loads((directory / "config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_is_written_has_the_names_and_numbers_that_were_read(name: str, tmp_path: Path) -> None:
    directory = DIRECTORIES / name
    model = read_model(directory)
    write_model(model, tmp_path / "again")
    before, after = (load_file(one / "model.safetensors") for one in (directory, tmp_path / "again"))
    if model.architecture.family == "albert":  # its layers are written as groups of their own
        layers = {key: value for key, value in before.items() if "_groups.0." in key}
        for number in range(model.architecture.layers):
            before |= {key.replace("_groups.0.", f"_groups.{number}."): value for key, value in layers.items()}
    first = 0
    if model.architecture.patches is None:
        first = config_of(directory)["max_position_embeddings"] - model.architecture.positions
    assert before.keys() == after.keys()
    for key, value in before.items():
        start = first if "position" in key else 0  # rows that nobody reads
        np.testing.assert_array_equal(after[key][start:], value[start:], key)
    written, read = config_of(tmp_path / "again"), config_of(directory)
    both = written.keys() & read.keys() - {"num_hidden_groups"}
    assert {key: written[key] for key in both} == {key: read[key] for key in both}
    assert read_model(tmp_path / "again").architecture == model.architecture
    assert model.architecture.family == read["model_type"]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_model_of_every_family_folds_and_keeps_within_its_bounds(name: str) -> None:
    model = read_model(DIRECTORIES / name)
    architecture = model.architecture
    name, (read, mask) = "token_ids", batch([5, 16])
    if (patches := architecture.patches) is not None:
        shape = (patches.channels, patches.height, patches.width)
        images = np.random.default_rng(0).uniform(-1, 1, (2, *shape)) * patches.largest_pixel
        name, read, mask = "rows", np.stack([patches.cut(one) for one in images]), np.ones((2, patches.rows), np.int32)
    plain = forward(architecture, model.parameters, {name: read, "mask": mask})
    folded = fold(architecture, model.parameters)
    assert {s: {n: np.shape(v) for n, v in own.items()} for s, own in folded.items()} == parameter_shapes(
        architecture, folded=True
    )
    secure = forward(architecture, folded, prepare_inputs(architecture, read, mask), folded=True)
    np.testing.assert_allclose(secure, plain, atol=1e-5)
    bounds = stage_bounds(model)
    for stage, largest in measure_headroom(
        model, [row[:5] if patches is None else row for row in read]
    ).largest.items():
        assert largest <= bounds[stage] < np.inf, stage


def test_every_family_has_a_checkpoint_here() -> None:
    there = {config_of(one)["model_type"] for one in DIRECTORIES.iterdir()}
    assert set(FAMILIES) - there == {"mpnet"}  # tests/model/test_mpnet.py writes one


@pytest.mark.parametrize("pad", [1, 3])
def test_positions_begin_after_the_number_of_the_padding_piece(pad: int, tmp_path: Path) -> None:
    """Some RoBERTas pad with another piece than the second; then the table's rows shift with it."""
    source, directory = DIRECTORIES / "roberta-classifier", tmp_path / "model"
    shutil.copytree(source, directory)
    (directory / "config.json").write_text(json.dumps(config_of(source) | {"pad_token_id": pad}), encoding="utf-8")
    model = read_model(directory)
    table = load_file(source / "model.safetensors")["roberta.embeddings.position_embeddings.weight"]
    np.testing.assert_array_equal(model.parameters["embedding"]["position"], table[pad + 1 :])
    assert model.architecture.positions == 66 - pad - 1
    write_model(model, tmp_path / "again")
    assert config_of(tmp_path / "again")["max_position_embeddings"] == 66


@pytest.mark.parametrize(
    ("source", "pad", "piece"),
    [
        ("roberta-classifier", 2, "'</s>'"),
        ("roberta-classifier", 0, "'<s>'"),
        ("roberta-classifier", 5, "'!'"),
        ("xlm-roberta-reranker-one-logit", 3, "'<unk>'"),
    ],
)
def test_padding_that_is_a_piece_of_texts_is_refused(source: str, pad: int, piece: str, tmp_path: Path) -> None:
    """transformers gives such pieces the position of padding, wherever they stand."""
    directory = tmp_path / "model"
    shutil.copytree(DIRECTORIES / source, directory)
    assert read_tokenizer(directory)
    config = config_of(directory) | {"pad_token_id": pad}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=f"number {pad} are padding to a .*roberta, and the tokenizer's {piece}"):
        read_tokenizer(directory)
    for sound in ({"model_type": "bert"}, {"pad_token_id": 10**12}):  # which counts places; a number that no piece has
        (directory / "config.json").write_text(json.dumps(config | sound), encoding="utf-8")
        assert read_tokenizer(directory)


def test_a_model_without_its_pooler_is_not_read_as_one_that_has_none(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(DIRECTORIES / "bert-classifier", directory)
    tensors = load_file(directory / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "pooler" not in k}, directory / "model.safetensors")
    with pytest.raises(UserError, match=r"bert\.pooler\.dense\.weight is missing"):
        read_model(directory)


def test_distilbert_has_sinusoidal_positions_where_its_configuration_says_so(tmp_path: Path) -> None:
    """Vaswani et al. 2017: sines at even places, cosines at odd ones; a checkpoint's own table comes first."""
    source, directory = DIRECTORIES / "distilbert-classifier", tmp_path / "model"
    shutil.copytree(source, directory)
    (directory / "config.json").write_text(
        json.dumps(config_of(source) | {"sinusoidal_pos_embds": True}), encoding="utf-8"
    )
    own = load_file(source / "model.safetensors")
    key = "distilbert.embeddings.position_embeddings.weight"
    np.testing.assert_array_equal(read_model(directory).parameters["embedding"]["position"], own[key])
    save_file({name: value for name, value in own.items() if name != key}, directory / "model.safetensors")
    table = read_model(directory).parameters["embedding"]["position"]
    for position, place in ((0, 0), (0, 1), (5, 0), (5, 1), (63, 30), (17, 31)):
        angle = position / 10000 ** (2 * (place // 2) / 32)
        assert table[position, place] == pytest.approx(math.cos(angle) if place % 2 else math.sin(angle), abs=1e-6)
    with pytest.raises(UserError, match=r"position_embeddings\.weight is missing"):
        (directory / "config.json").write_text(json.dumps(config_of(source)), encoding="utf-8")
        read_model(directory)


def test_layers_of_an_albert_share_what_their_group_has(tmp_path: Path) -> None:
    """Six layers: each of two groups of two layers with weights of their own, the second group for the last one."""
    source, directory = DIRECTORIES / "albert-classifier", tmp_path / "model"
    shutil.copytree(source, directory)
    changes = {"num_hidden_layers": 3, "num_hidden_groups": 2, "inner_group_num": 2}
    (directory / "config.json").write_text(json.dumps(config_of(source) | changes), encoding="utf-8")
    tensors = load_file(source / "model.safetensors")
    one = "albert.encoder.albert_layer_groups.0.albert_layers.0."
    layer = {key.removeprefix(one): tensors.pop(key) for key in list(tensors) if key.startswith(one)}
    for group in range(2):
        for place in range(2):
            prefix = f"albert.encoder.albert_layer_groups.{group}.albert_layers.{place}."
            tensors |= {prefix + key: value + 10 * group + place for key, value in layer.items()}
    save_file(tensors, directory / "model.safetensors")
    model = read_model(directory)
    assert model.architecture.layers == len(model.architecture.functions) == 6
    biases = [model.parameters[f"encoder.{number}.feed_forward"]["intermediate.bias"] for number in range(6)]
    shifts = [0, 1, 0, 1, 10, 11]  # layers 0 and 1 are of the first group, as transformers rounds
    np.testing.assert_allclose(biases, [layer["ffn.bias"] + shift for shift in shifts], rtol=1e-6)
    write_model(model, tmp_path / "again")
    assert config_of(tmp_path / "again")["num_hidden_groups"] == 6
    for stage, own in read_model(tmp_path / "again").parameters.items():
        for name, value in own.items():
            np.testing.assert_array_equal(value, model.parameters[stage][name])
    (directory / "config.json").write_text(json.dumps(config_of(directory) | {"num_hidden_groups": 1}), "utf-8")
    with pytest.raises(UserError, match=r"groups\.1\.albert_layers\.0 is no layer that config\.json describes"):
        read_model(directory)


def test_a_second_token_type_that_no_tokenizer_gives_is_not_used(tmp_path: Path) -> None:
    source, directory = DIRECTORIES / "roberta-classifier", tmp_path / "model"
    shutil.copytree(source, directory)
    (directory / "config.json").write_text(json.dumps(config_of(source) | {"type_vocab_size": 2}), encoding="utf-8")
    tensors = load_file(source / "model.safetensors")
    key = "roberta.embeddings.token_type_embeddings.weight"
    save_file(tensors | {key: np.concatenate([tensors[key], tensors[key] + 1])}, directory / "model.safetensors")
    model, same = read_model(directory), read_model(source)
    assert model.architecture == same.architecture
    np.testing.assert_array_equal(
        model.parameters["embedding"]["token_type"], same.parameters["embedding"]["token_type"]
    )
