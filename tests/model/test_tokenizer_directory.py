"""Texts in word pieces, against transformers' own tokenizers; and word tables that do not fit them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.conversion.measures.predictions import evaluate
from freediv.conversion.student.recipe import Recipe
from freediv.conversion.student.replacement import make_student
from freediv.conversion.texts.examples import read_examples
from freediv.errors import UserError
from freediv.model import Model, encode, read_model, read_tokenizer, write_model, write_tokenizer
from freediv.model.reading.texts import TextReader
from freediv.owners.model_owner import prepare_offer
from freediv.owners.served_model import read_bundle
from tokenizers import Tokenizer

CLASSIFIER = Path(__file__).parent / "families" / "bert-classifier"
TEXTS = ["A Warm and FUNNY film", "Élan, naïve café", "東京 film", "über [SEP] film", "plain"]
FLAGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


def described(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def changed(directory: Path, tokenizer: dict[str, Any] | None = None, **settings: Any) -> Path:
    """A copy of the BERT classifier with another normalizer, and other settings beside it (None: not there)."""
    shutil.copytree(CLASSIFIER, directory)
    own = described(directory / "tokenizer.json")
    other = tokenizer or {}
    own["normalizer"] = other if "type" in other else own["normalizer"] | other
    # Pieces that tell the normalizers apart.
    for piece in (
        "A",
        "Warm",
        "FUNNY",
        "É",
        "##lan",
        "é",
        "e",
        "ca",
        "##f",
        "##é",
        "##e",
        "東",
        "東京",
        "ü",
        "u",
        "##ber",
    ):
        own["model"]["vocab"].setdefault(piece, len(own["model"]["vocab"]))
    (directory / "tokenizer.json").write_text(json.dumps(own), encoding="utf-8")
    found = described(directory / "tokenizer_config.json")
    found = {key: value for key, value in (found | settings).items() if value is not ...}
    (directory / "tokenizer_config.json").write_text(json.dumps(found), encoding="utf-8")
    return directory


def of_transformers(directory: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory)(TEXTS)["input_ids"]


def of_freediv(tokenizer: Tokenizer) -> list[list[int]]:
    return [ids.tolist() for ids in encode(tokenizer, TEXTS, 512, 1 << 20)]


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({"do_lower_case": False}, {"lowercase": True}),
        ({"do_lower_case": True}, {"lowercase": False}),
        ({"do_lower_case": ...}, {"lowercase": False}),
        ({"do_lower_case": False, "strip_accents": True}, {}),
        ({"do_lower_case": True, "strip_accents": False}, {}),
        ({"strip_accents": ...}, {"strip_accents": False}),
        ({"tokenize_chinese_chars": False}, {"handle_chinese_chars": True}),
        ({"tokenize_chinese_chars": ...}, {"handle_chinese_chars": False}),
        ({"do_lower_case": False, "tokenizer_class": "BertTokenizerFast"}, {"lowercase": True}),
        ({"do_lower_case": False, "tokenizer_class": ...}, {"lowercase": True}),
        ({"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"}, {"lowercase": True}),
        ({"do_lower_case": False, "tokenizer_class": "DistilBertTokenizer"}, {"lowercase": True}),
        ({"do_lower_case": False, "tokenizer_class": "MPNetTokenizer"}, {"lowercase": True}),
    ],
)
def test_contradictions_between_a_tokenizers_files_are_read_as_transformers_reads_them(
    tmp_path: Path, settings: dict[str, Any], own: dict[str, Any]
) -> None:
    directory = changed(tmp_path / "model", own, **settings)
    tokenizer = read_tokenizer(directory)
    assert of_freediv(tokenizer) == of_transformers(directory)
    # So do the models that are made of it, and the data owners that they are offered to.
    write_model(read_model(directory), tmp_path / "again", tokenizer=directory)
    assert of_freediv(read_tokenizer(tmp_path / "again")) == of_freediv(tokenizer)
    assert of_transformers(tmp_path / "again") == of_freediv(tokenizer)
    _, served, _, *_ = read_bundle(prepare_offer(directory, without_headroom=True).bundle)
    assert isinstance(served, TextReader)
    assert of_freediv(served.tokenizer) == of_freediv(tokenizer)


def test_the_texts_tell_the_settings_apart(tmp_path: Path) -> None:
    found = [of_freediv(read_tokenizer(changed(tmp_path / "usual")))]
    for flag in FLAGS:
        found.append(of_freediv(read_tokenizer(changed(tmp_path / flag, **{flag: False}))))
    assert all(a != b for place, a in enumerate(found) for b in found[:place])


@pytest.mark.parametrize(
    ("settings", "own", "message"),
    [
        ({"do_lower_case": "no"}, {}, "do_lower_case is 'no'; it is true or false"),
        ({"do_lower_case": None}, {}, "do_lower_case is None; it is true or false"),
        ({}, {"type": "Lowercase"}, "tokenizer_class BertTokenizer normalizes as BERT does, and tokenizer.json by Low"),
        ({"added_tokens_decoder": {"600": {"content": "[NAME]"}}}, {}, r"added_tokens_decoder has '\[NAME\]', which"),
    ],
)
def test_what_may_be_read_in_two_ways_is_refused(
    tmp_path: Path, settings: dict[str, Any], own: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_tokenizer(changed(tmp_path / "model", own, **settings))


def test_another_normalizer_is_taken_as_it_is_where_the_class_says_so(tmp_path: Path) -> None:
    directory = changed(tmp_path / "model", {"type": "Lowercase"}, tokenizer_class="PreTrainedTokenizerFast")
    assert of_freediv(read_tokenizer(directory)) == of_transformers(directory)


# --- tables ---


def recipe(vocabulary: int | None) -> Recipe:
    return Recipe(
        name="test", functions={"attention": "softmax", "activation": "gelu"}, embedding={"vocabulary": vocabulary}
    )


def with_piece(directory: Path, number: int, rows: int, *, added: bool) -> Path:
    """A copy of the classifier that has one more word piece, `[NAME]` or `zebra`, and a word table of so many rows."""
    shutil.copytree(CLASSIFIER, directory)
    own = described(directory / "tokenizer.json")
    if added:
        own["added_tokens"].append(own["added_tokens"][0] | {"id": number, "content": "[NAME]"})
    else:
        own["model"]["vocab"]["zebra"] = number
    (directory / "tokenizer.json").write_text(json.dumps(own), encoding="utf-8")
    model = read_model(CLASSIFIER)
    word = model.parameters["embedding"]["word"]
    table = np.concatenate([word, np.random.default_rng(0).normal(size=(rows, word.shape[1])).astype(np.float32)])[
        :rows
    ]
    architecture = model.architecture.model_copy(update={"vocabulary": rows})
    parameters = model.parameters | {"embedding": model.parameters["embedding"] | {"word": table}}
    write_model(Model(architecture, parameters), directory)
    return directory


@pytest.mark.parametrize(("added", "number"), [(True, 600), (False, 600), (False, 620)])
@pytest.mark.parametrize("cut", [None, 590])
def test_a_student_keeps_the_rows_that_its_teacher_has(
    tmp_path: Path, added: bool, number: int, cut: int | None
) -> None:
    """An added token, a vocabulary with a hole, and a table longer than both."""
    directory = with_piece(tmp_path / "model", number, 640, added=added)
    text = "the [NAME] film" if added else "the zebra film"
    model, tokenizer = read_model(directory), read_tokenizer(directory)
    sequences = encode(tokenizer, [text], 64, 640)
    assert number in sequences[0]
    student = make_student(model, TextReader(tokenizer), sequences, recipe(cut))
    assert len(student.kept) == student.model.architecture.vocabulary == (cut or 640)
    [own] = encode(student.reader.tokenizer, [text], 64, student.model.architecture.vocabulary)
    assert student.kept[own].tolist() == sequences[0].tolist()
    words, theirs = (one.parameters["embedding"]["word"] for one in (student.model, model))
    np.testing.assert_array_equal(words[own], theirs[sequences[0]])


def test_a_cut_tokenizer_reads_in_transformers_as_in_freediv(tmp_path: Path) -> None:
    directory = changed(tmp_path / "model", {"lowercase": True}, do_lower_case=False)
    model, tokenizer = read_model(CLASSIFIER), read_tokenizer(directory)
    sequences = [np.array([number for number in ids if number < 600]) for ids in of_freediv(tokenizer)]
    student = make_student(model, TextReader(read_tokenizer(CLASSIFIER)), sequences, recipe(500))
    write_model(student.model, tmp_path / "student")
    write_tokenizer(student.reader.tokenizer, tmp_path / "student", directory)
    assert of_transformers(tmp_path / "student") == of_freediv(read_tokenizer(tmp_path / "student"))


@pytest.mark.parametrize("added", [True, False])
def test_a_piece_beyond_the_table_is_named(tmp_path: Path, added: bool) -> None:
    directory = with_piece(tmp_path / "model", 600, 600, added=added)
    piece = "[NAME]" if added else "zebra"
    message = rf"text 2 has the word piece '{re_escaped(piece)}', which is number 600, .* word table has 600 rows"
    data = tmp_path / "data.tsv"
    data.write_text(f"sentence\tlabel\nplain\t0\nthe {piece} film\t1\n", encoding="utf-8")
    model = read_model(directory)
    with pytest.raises(UserError, match=message):
        evaluate(model, read_examples(data, label_names=model.architecture.label_names))
    with pytest.raises(UserError, match="is number 600, and the teacher's word table has 600 rows"):
        make_student(model, TextReader(read_tokenizer(directory)), [np.array([1])], recipe(500))


def re_escaped(piece: str) -> str:
    return piece.replace("[", r"\[").replace("]", r"\]")
