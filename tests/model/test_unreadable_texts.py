"""Texts that a tokenizer cannot read: one line, which says why, and nothing of the text."""

from __future__ import annotations

import pytest
from freediv.errors import UserError
from freediv.model.pieces.pairs import has_half_character
from freediv.model.pieces.word_pieces import encode
from tokenizers import Tokenizer, models, pre_tokenizers


def tokenizer(**settings: object) -> Tokenizer:
    made = Tokenizer(models.WordPiece({"good": 0, "[UNK]": 1}, **settings))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


@pytest.mark.parametrize("text", ["secret \udc80", "\ud83d secret", ("good", "secret \udfff")])
def test_half_a_character_is_named_by_its_texts_number(text: str | tuple[str, str]) -> None:
    assert has_half_character(text)
    texts = ["good", text]
    with pytest.raises(UserError, match="text 2 holds half a character") as caught:
        encode(tokenizer(unk_token="[UNK]"), texts, 8, 2)
    assert "secret" not in str(caught.value)


def test_a_tokenizer_without_its_unknown_piece_is_told_as_such() -> None:
    with pytest.raises(UserError, match="is the piece for unknown words missing") as caught:
        encode(tokenizer(unk_token="[unk]"), ["secret"], 8, 2)
    assert "secret" not in str(caught.value)


def test_whole_characters_are_read() -> None:
    assert not has_half_character("\U0001f525 caf\u00e9")
    assert encode(tokenizer(unk_token="[UNK]"), ["good \U0001f525"], 8, 2)[0].tolist() == [0, 1]
