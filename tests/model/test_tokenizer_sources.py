"""Tokenizers without a tokenizer.json, of what they came with before: the same word pieces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from freediv.errors import UserError
from freediv.model import encode, read_tokenizer

HERE = Path(__file__).parent
WITH_MODEL = {path.parent for path in HERE.glob("families/*-classifier/*.model")}
OTHERS = ("bert", "distilbert", "electra", "roberta")
CLASSIFIERS = sorted(WITH_MODEL | {HERE / "families" / f"{name}-classifier" for name in OTHERS})
XLMR = HERE / "families" / "xlm-roberta-reranker-one-logit"


def described(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def as_before(source: Path, directory: Path, *, settings: bool = True) -> Path:
    """A copy that has the older files in place of tokenizer.json; a SentencePiece model where the source has one."""
    shutil.copytree(source, directory)
    model = described(directory / "tokenizer.json")["model"]
    (directory / "tokenizer.json").unlink()
    if not settings:
        (directory / "tokenizer_config.json").unlink()
    if model["type"] == "WordPiece":
        (directory / "vocab.txt").write_text("\n".join(model["vocab"]) + "\n", encoding="utf-8")
    elif model["type"] == "BPE":
        (directory / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        merges = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
        (directory / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    return directory


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize("source", CLASSIFIERS, ids=lambda path: path.name)
def test_older_files_give_the_pieces_that_transformers_gives(source: Path, settings: bool, tmp_path: Path) -> None:
    directory = as_before(source, tmp_path / "model", settings=settings)
    tokenizer, expected = read_tokenizer(directory), described(source / "expected.json")
    for item in expected["items"]:
        text = item["texts"][0] if len(item["texts"]) == 1 else tuple(item["texts"])
        [ids] = encode(tokenizer, [text], expected["padded_to"], 1 << 20)
        assert ids.tolist() == item["input_ids"]


def test_xlm_roberta_numbers_a_models_pieces_as_fairseq_does(tmp_path: Path) -> None:
    """One more than SentencePiece: 3 is for what it does not know, and its first three are 0, 2 and 3."""
    directory = as_before(XLMR, tmp_path / "model", settings=False)
    shutil.copy(HERE / "tokenizers" / "unigram.model", directory / "sentencepiece.bpe.model")
    tokenizer = read_tokenizer(directory)
    numbers = tokenizer.get_vocab()
    assert [numbers[piece] for piece in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")] == [0, 1, 2, 3, len(numbers) - 1]
    assert len(numbers) == 302  # its 300, and two
    encoded = tokenizer.encode("the model", "a 東")
    assert encoded.tokens[:2] == ["<s>", "▁the"]
    assert encoded.ids.count(2) == 3
    assert encoded.tokens[encoded.ids.index(2) :][:3] == ["</s>", "</s>", "▁a"]
    assert encoded.ids[-2:] == [3, 2]
    assert set(encoded.type_ids) == {0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has no pieces"),
        (b"\xff" * 9, "cannot be read as a SentencePiece model"),
        (None, "nor is a SentencePiece"),
    ],
)
def test_what_is_no_sentencepiece_model_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    directory = as_before(XLMR, tmp_path / "model")
    if content is not None:
        (directory / "sentencepiece.bpe.model").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_tokenizer(directory)


def test_added_pieces_follow_with_the_numbers_that_they_are_said_to_have(tmp_path: Path) -> None:
    directory = as_before(HERE / "families" / "bert-classifier", tmp_path / "model", settings=False)
    (directory / "added_tokens.json").write_text(json.dumps({"[NAME]": 600}), encoding="utf-8")
    assert 600 in read_tokenizer(directory).encode("the [NAME] film").ids
    (directory / "added_tokens.json").write_text(json.dumps({"[NAME]": 700}), encoding="utf-8")
    with pytest.raises(UserError, match=r"the added piece '\[NAME\]' is number 700, and would be 600"):
        read_tokenizer(directory)
