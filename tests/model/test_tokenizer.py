"""Tokenizers of known families are read as they are; what could put a text's content into its length is not."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from freediv.model.pieces.tokenizer import encode_counted, parse_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

HERE = Path(__file__).parent
FAMILIES = sorted([*HERE.glob("tokenizers/*.json"), *HERE.glob("families/*/tokenizer.json")])
SPACES = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
STRANGE = ["İstanbul ß ﬃ ﷺ ｶﾞ …", "中文 日本", "😀😀", "a" * 300, "x", "\u0000\u200b", "K" * 40, "ΰ" * 5, " \u00a0 a"]
UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁", -2.0], ["a", -3.0]], "byte_fallback": False}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
MARK = "▁".encode()
MARKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
ENDS = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)


def charsmap(rules: dict[bytes, str]) -> str:
    """SentencePiece's table, one node of the double array in each block of 256 units."""
    texts, starts = b"", {}
    for key, text in rules.items():
        starts[key] = len(texts)
        texts += text.encode() + b"\0"
    prefixes = sorted({key[:n] for key in rules for n in range(len(key) + 1)}, key=len)
    base = {prefix: 256 * (1 + number) for number, prefix in enumerate(prefixes)}
    units = [0x80000000] * (256 * (1 + len(prefixes)))
    place = {b"": 0} | {prefix: base[prefix[:-1]] ^ prefix[-1] for prefix in prefixes if prefix}
    for prefix in prefixes:
        offset, leaf = base[prefix] ^ place[prefix], prefix in rules
        units[place[prefix]] = offset << 10 | leaf << 8 | (prefix[-1] if prefix else 0)
        if leaf:
            units[base[prefix]] = 0x80000000 | starts[prefix]
    blob = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(blob)) + blob + texts).decode()


def described(**changes: Any) -> dict[str, Any]:
    """A BERT tokenizer's file, with other parts."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "film", "##s", "x", "##x"]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = ENDS
    return json.loads(made.to_str()) | changes


def parsed(**changes: Any) -> Tokenizer:
    return parse_tokenizer(json.dumps(described(**changes)))


@pytest.mark.parametrize("path", FAMILIES, ids=lambda path: path.relative_to(HERE).as_posix())
def test_known_families_pass_and_read_as_they_do_elsewhere(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    other = Tokenizer.from_str(content)
    other.no_truncation()
    other.no_padding()
    texts = [*STRANGE, "The plot makes no sense,  and the jokes fall flat.", ("one text", "and another")]
    found = [encoding.ids for encoding in encode_counted(parse_tokenizer(content), texts)]
    assert found == [encoding.ids for encoding in other.encode_batch(texts)]


SENTENCEPIECE = [
    {"type": "Precompiled", "precompiled_charsmap": charsmap({"ﬁ".encode(): "fi", b"\x01": "", "…".encode(): "..."})},
    {"type": "Strip", "strip_left": False, "strip_right": True},
    {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
    {"type": "NFKD"},
    {"type": "StripAccents"},
    {"type": "Lowercase"},
    SPACES,
]


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Sequence", "normalizers": SENTENCEPIECE}, "pre_tokenizer": METASPACE},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}},
        {"normalizer": {"type": "NFC"}, "pre_tokenizer": BYTES},
        {"normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"}},
        {"normalizer": MARKS, "pre_tokenizer": METASPACE},
        {"model": {k: v for k, v in described()["model"].items() if k != "type"}},
        {"model": UNIGRAM, "pre_tokenizer": METASPACE, "normalizer": {"type": "NFKC"}},
        {"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}},
        {"truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}},
    ],
    ids=[
        "albert",
        "xlm-roberta",
        "modernbert",
        "bare",
        "spaces marked",
        "of before types",
        "unigram",
        "bert's ends",
        "truncated",
    ],
)
def test_their_steps_pass_however_they_are_put_together(changes: dict[str, Any]) -> None:
    tokenizer = parsed(**changes)
    assert len(list(encode_counted(tokenizer, STRANGE))) == len(STRANGE)
    assert len(next(encode_counted(tokenizer, ["a film a film"])).ids) >= 3


REPEATING = {"type": "Replace", "pattern": {"String": "bomb"}, "content": "bomb " * 20}
TWICE = {"Sequence": {"id": "A", "type_id": 0}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"normalizer": REPEATING}, "normalizer.* no known family"),
        ({"normalizer": {"type": "Sequence", "normalizers": [REPEATING]}}, "normalizer.* no known family"),
        ({"normalizer": REPEATING | {"content": ""}}, "normalizer.* no known family"),
        ({"normalizer": {"type": "Prepend", "prepend": "a a a"}}, "prepend"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 99}}, "normalizer"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap({b"bomb": "x x x"})}}, "longer than"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap({b"a": "x"})[:-8]}}, "no table"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "no table"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated"}}, "pre_tokenizer"),
        ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, METASPACE]}}, "no space"),
        ({"pre_tokenizer": None}, "does not cut texts at spaces"),
        ({"pre_tokenizer": METASPACE | {"split": False}, "model": UNIGRAM}, "does not cut texts at spaces"),
        ({"pre_tokenizer": BYTES | {"use_regex": False}}, "does not cut texts at spaces"),
        ({"normalizer": MARKS, "pre_tokenizer": {"type": "BertPreTokenizer"}}, "does not cut texts at spaces"),
        ({"normalizer": MARKS, "pre_tokenizer": {"type": "WhitespaceSplit"}}, "does not cut texts at spaces"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap({b" ": ""})}}, "drops spaces"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap({MARK: "x"})}}, "drops spaces"),
        ({"post_processor": {"type": "TemplateProcessing", "single": [TWICE] * 2, "special_tokens": {}}}, "text once"),
        ({"post_processor": described()["post_processor"] | {"special_tokens": {}}}, "not described"),
        ({"model": described()["model"] | {"unk_token": "[NONE]"}}, "unknown piece is not in its vocabulary"),
        ({"model": UNIGRAM | {"unk_id": None}}, "unk_id"),
        ({"model": UNIGRAM | {"vocab": [["a", float("nan")]]}}, "finite"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5}}, "dropout"),
        ({"model": {"type": "Other"}}, "model"),
        ({"added_tokens": [{"id": 1, "content": ""}]}, "content"),
        ({"more": 1}, "more"),
    ],
)  # fmt: skip
def test_what_could_tell_a_texts_content_by_its_length_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        parsed(**changes)
    assert str(refused.value).isprintable()


def test_no_text_gets_more_pieces_than_characters() -> None:
    """Whatever came past the check of the file: here a tokenizer that never went through it."""
    doubling = Tokenizer.from_str(json.dumps(described(normalizer=REPEATING)))
    assert len(next(encode_counted(doubling, ["a film"])).ids) == 4
    with pytest.raises(ValueError, match="more pieces of a text than that has characters") as refused:
        list(encode_counted(doubling, ["bomb"]))
    assert "bomb" not in str(refused.value)
    assert len(next(encode_counted(parsed(), ["x" * 40])).ids) == 42  # one each, and two special ones
