"""What a Hugging Face directory says of itself is read as it is meant, or refused by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from freediv.conversion.measures.predictions import answers_of, logits_of, rows_of
from freediv.conversion.texts.pairing import as_read
from freediv.errors import UserError
from freediv.model import (
    encode,
    fold,
    forward,
    prepare_inputs,
    read_model,
    read_pretrained,
    read_tokenizer,
    write_model,
)
from freediv.model.answers import ANSWERS, PIECES
from freediv.model.families import FAMILIES as KINDS
from freediv.model.families.heads import head_of
from safetensors.numpy import load_file, save_file

FAMILIES = Path(__file__).parent / "families"
"""Tiny checkpoints with random weights, and what PyTorch's transformers makes of texts."""

READ = "import sys, freediv.model as t; print(ascii(t.read_model(sys.argv[1]).architecture.label_names))"


def test_label_names_are_the_same_whatever_the_locale(tmp_path: Path) -> None:
    names = ("négatif", "positif", "ça va")
    write_model(tiny.model(label_names=names), tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    written = config.read_text(encoding="utf-8")
    config.write_text(written.replace(r"\u00e9", "é").replace(r"\u00e7", "ç"), encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "model")],
        env=os.environ | plain, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == ascii(names), done.stderr


def changed(directory: Path, **changes: Any) -> Path:
    """A copy of the BERT classifier whose configuration says something else (None: says nothing)."""
    shutil.copytree(FAMILIES / "bert-classifier", directory)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8")) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


@pytest.mark.parametrize("name", sorted(one.parent.name for one in FAMILIES.glob("*/tokenizer.json")))
def test_a_model_gives_the_numbers_that_transformers_gives(name: str) -> None:
    directory = FAMILIES / name
    expected = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
    model, tokenizer = read_model(directory), read_tokenizer(directory)
    ask = rows_of if model.gives_rows else logits_of
    for count in {len(item["texts"]) for item in expected["items"]}:
        items = [item for item in expected["items"] if len(item["texts"]) == count]
        texts = [item["texts"][0] if count == 1 else tuple(item["texts"]) for item in items]
        longest = min(expected["padded_to"] or 512, model.architecture.positions)  # some of their texts were cut
        sequences = encode(tokenizer, texts, longest, tokenizer.get_vocab_size())
        assert [sequence.tolist() for sequence in sequences] == [item["input_ids"] for item in items]
        for found, item in zip(ask(as_read(model, texts, directory), sequences), items, strict=True):
            wanted = np.array(item["output"])
            np.testing.assert_allclose(found[: len(wanted)], wanted, atol=1e-4)
            assert np.isnan(found[len(wanted) :]).all()
        if count == 1 and expected["padded_outputs"] is not None:
            shape, length = (len(items), expected["padded_to"]), max(map(len, sequences))
            assert shape[1] >= length
            token_ids, mask = np.full(shape, model.architecture.pad_token), np.zeros(shape)
            for row, sequence in enumerate(sequences):
                token_ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
            padded = forward(model.architecture, model.parameters, {"token_ids": token_ids, "mask": mask})
            np.testing.assert_allclose(padded, expected["padded_outputs"], atol=1e-4)


ONE, FOUR = {"0": "LABEL_0"}, {"0": "toxic", "1": "insult", "2": "threat", "3": "neutral"}
TAKES = (
    r"; freediv takes BertForSequenceClassification \(one label out of several or a score or any number of labels\), "
    r"BertForTokenClassification \(a label for each word piece\), BertModel \(a vector\)"
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"problem_type": "regression"},
            "problem_type is 'regression' with 3 labels, which answers several scores" + TAKES,
        ),
        ({"problem_type": ["regression"]}, r"problem_type is \['regression'\]" + TAKES),
        ({"architectures": ["BertForMultipleChoice"]}, "which answers a choice between texts" + TAKES),
        ({"architectures": ["MyOwnClassifier"]}, "the model is MyOwnClassifier" + TAKES),
        ({"architectures": ["MPNetForSequenceClassification"]}, "the model is MPNetForSequenceClassification" + TAKES),
        ({"architectures": None}, "architectures is missing, which says what the model answers" + TAKES),
        (
            {"architectures": "BertForSequenceClassification"},
            "architectures is no list: the model is BertForSequenceClassification" + TAKES,
        ),
        ({"architectures": [7]}, "the model is 7" + TAKES),
        ({"is_decoder": True}, "is_decoder is True: a decoder; freediv reads encoders"),
        ({"add_cross_attention": True}, "add_cross_attention is True: a decoder"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'; freediv reads 'abs"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not known; known: gelu, gelu_new"),
        ({"model_type": "gpt2"}, "model_type is 'gpt2'; freediv reads 'bert', 'mpnet', 'roberta'"),
        ({"quantization_config": {"bits": 8}}, "quantization_config: the weights are stored as integers"),
    ],
)
def test_what_no_kind_of_answer_is_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    directory = changed(tmp_path / "model", **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_model(directory)
    assert str(caught.value).startswith(str(directory / "config.json"))


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, "label"),
        ({"problem_type": "single_label_classification"}, "label"),
        ({"id2label": ONE}, "score"),
        ({"id2label": ONE, "problem_type": "regression"}, "score"),
        ({"id2label": ONE, "problem_type": "single_label_classification"}, "score"),  # it excludes no other
        ({"id2label": None, "num_labels": 1}, "score"),
        ({"problem_type": "multi_label_classification"}, "labels"),
        ({"problem_type": "multi_label_classification", "id2label": ONE}, "labels"),
        ({"architectures": ["BertForTokenClassification"]}, "pieces"),
        ({"architectures": ["BertForTokenClassification"], "problem_type": "multi_label_classification"}, "pieces"),
        ({"architectures": ["BertModel"]}, "vector"),
    ],
)
def test_the_class_and_what_its_logits_stand_for_tell_the_answer(changes: dict[str, Any], answer: str) -> None:
    config = json.loads((FAMILIES / "bert-classifier" / "config.json").read_text(encoding="utf-8")) | changes
    found = head_of({key: value for key, value in config.items() if value is not None}, Path("config.json"))
    assert found is ANSWERS[answer]


@pytest.mark.parametrize("name", ["bert-reranker-one-logit", "bert-multi-label", "bert-tokens", "bert-encoder"])
def test_a_model_is_written_as_what_it_was_read_as(tmp_path: Path, name: str) -> None:
    model = read_model(FAMILIES / name)
    write_model(model, tmp_path / "again")
    again = read_model(tmp_path / "again")
    assert again.architecture == model.architecture
    assert not again.gives_rows  # its pooling is said from now on


def encoder(directory: Path, modules: list[str], pooling: dict[str, Any], **settings: Any) -> Path:
    """The BERT encoder with what sentence-transformers writes beside it."""
    shutil.copytree(FAMILIES / "bert-encoder", directory)
    folders = {"Transformer": "", "Pooling": "1_Pooling"}
    listed = [
        {"idx": i, "path": folders.get(name, f"{i}_{name}"), "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(modules)
    ]
    (directory / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    (directory / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    return directory


@pytest.mark.parametrize("name", sorted(one.parent.name for one in FAMILIES.glob("*-classifier/tokenizer.json")))
def test_the_encoder_of_every_family_gives_rows_and_their_mean_folded_too(tmp_path: Path, name: str) -> None:
    """As transformers saves it: its tensors' names leave out what a classifier's begin with."""
    shutil.copytree(FAMILIES / name, tmp_path / "model")
    config = json.loads((FAMILIES / name / "config.json").read_text(encoding="utf-8"))
    kind = KINDS[config["model_type"]]
    config["architectures"] = [f"{kind.prefix}Model"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors, root = load_file(tmp_path / "model" / "model.safetensors"), f"{kind.root}."
    own = {key.removeprefix(root): value for key, value in tensors.items() if key.startswith(root)}
    save_file(own, tmp_path / "model" / "model.safetensors")
    model = read_model(tmp_path / "model")
    sequences = [np.arange(5, 12, dtype=np.int32), np.arange(20, 36, dtype=np.int32)]
    rows = rows_of(model, sequences)
    assert [one.shape for one in rows] == [(7, 32), (16, 32)]
    wanted = [one.mean(axis=0) for one in rows]
    np.testing.assert_allclose(answers_of(model, sequences), wanted, atol=1e-5)
    token_ids, mask = np.zeros((2, 16), np.int32), np.zeros((2, 16), np.float32)
    for row, sequence in enumerate(sequences):
        token_ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    folded, inputs = fold(model.architecture, model.parameters), prepare_inputs(model.architecture, token_ids, mask)
    np.testing.assert_allclose(forward(model.architecture, folded, inputs, folded=True), wanted, atol=1e-4)


MEAN = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
FIRST = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(("pooling", "normalised"), [(MEAN, True), (MEAN, False), (FIRST, True)])
def test_a_sentence_encoder_gives_its_rows_pooled(tmp_path: Path, pooling: dict[str, Any], normalised: bool) -> None:
    modules = ["Transformer", "Pooling", *(["Normalize"] if normalised else [])]
    model = read_model(encoder(tmp_path / "model", modules, pooling, default_prompt_name=None))
    assert not model.gives_rows
    items = json.loads((FAMILIES / "bert-encoder" / "expected.json").read_text(encoding="utf-8"))["items"]
    found = answers_of(model, [np.array(item["input_ids"]) for item in items])
    for vector, rows in zip(found, (np.array(item["output"]) for item in items), strict=True):
        wanted = rows.mean(axis=0) if pooling is MEAN else rows[0]
        np.testing.assert_allclose(vector, wanted / (np.linalg.norm(wanted) if normalised else 1), atol=1e-4)


def test_a_sentence_encoder_reads_as_many_pieces_as_it_is_said_to(tmp_path: Path) -> None:
    directory = encoder(tmp_path / "model", ["Transformer", "Pooling"], MEAN)
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}), encoding="utf-8")
    model, whole = read_model(directory), read_model(FAMILIES / "bert-encoder")
    assert (model.architecture.positions, whole.architecture.positions) == (20, 64)
    sequence = np.arange(5, 25, dtype=np.int32)
    np.testing.assert_allclose(answers_of(model, [sequence]), answers_of(whole, [sequence]), atol=1e-6)
    (directory / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}), encoding="utf-8")
    with pytest.raises(UserError, match=r"sentence_bert_config\.json: do_lower_case is set"):
        read_model(directory)


@pytest.mark.parametrize(
    ("modules", "pooling", "settings", "message"),
    [
        (
            ["Transformer", "Pooling", "Dense"],
            MEAN,
            {},
            r"modules\.json: the model is Transformer, Pooling, Dense, one",
        ),
        (["Transformer"], MEAN, {}, r"modules\.json: the model is Transformer, one after another"),
        (["Transformer", "Pooling"], MEAN | FIRST | {"pooling_mode_mean_tokens": True}, {}, "by cls_token and mean_t"),
        (
            ["Transformer", "Pooling"],
            {"pooling_mode_max_tokens": True},
            {},
            r"1_Pooling/config\.json: pooling by max_t",
        ),
        (["Transformer", "Pooling"], MEAN, {"default_prompt_name": "query"}, "default_prompt_name is 'query'"),
    ],
)
def test_vectors_that_would_be_others_are_refused(
    tmp_path: Path, modules: list[str], pooling: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_model(encoder(tmp_path / "model", modules, pooling, **settings))


def test_a_problem_type_of_one_label_is_taken_and_any_head_may_be_trained_anew(tmp_path: Path) -> None:
    assert read_model(changed(tmp_path / "a", problem_type="single_label_classification")).architecture.labels == 3
    other = changed(tmp_path / "b", architectures=["BertForTokenClassification"], problem_type="regression")
    assert read_pretrained(other, ("no", "yes")).architecture.label_names == ("no", "yes")
    assert read_pretrained(other, ("O", "B-X"), answer=PIECES).architecture.answer == "pieces"


def test_a_teacher_goes_on_with_its_classifier_where_the_labels_are_its_own(tmp_path: Path) -> None:
    teacher = tiny.model(label_names=("no", "yes"), **tiny.PUBLISHED)
    write_model(teacher, tmp_path / "teacher")
    head = teacher.parameters["classifier"]["weight"]
    assert np.array_equal(read_pretrained(tmp_path / "teacher", ("no", "yes")).parameters["classifier"]["weight"], head)
    for names in (("yes", "no"), ("bad", "good"), ("no", "yes", "maybe")):
        assert not np.array_equal(read_pretrained(tmp_path / "teacher", names).parameters["classifier"]["weight"], head)
    of_pieces = read_pretrained(tmp_path / "teacher", ("no", "yes"), answer=PIECES)
    assert not np.array_equal(of_pieces.parameters["classifier"]["weight"], head)


@pytest.mark.parametrize("labels", [{"1": "a", "2": "b", "3": "c"}, {"0": "a", "1": "b", "3": "c"}, {"a": "0"} | FOUR])
def test_a_label_whose_number_is_no_logits_is_not_moved_to_another(tmp_path: Path, labels: dict[str, str]) -> None:
    with pytest.raises(UserError, match="id2label"):
        read_model(changed(tmp_path / "model", id2label=labels))


def test_a_model_is_not_read_without_its_last_layers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"more layers than config\.json's num_hidden_layers, 1"):
        read_model(changed(tmp_path / "model", num_hidden_layers=1))


def test_weights_stored_as_integers_are_not_taken_for_what_they_stand_for(tmp_path: Path) -> None:
    directory = changed(tmp_path / "model")
    tensors = load_file(directory / "model.safetensors")
    tensors["classifier.weight"] = (tensors["classifier.weight"] * 100).astype(np.int8)
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(UserError, match=r"classifier\.weight holds no floating-point numbers; save it as float32"):
        read_model(directory)
