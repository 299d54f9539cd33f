"""Cutting a vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
from freediv.conversion.texts.vocabulary import VocabularyCut, cut_vocabulary
from freediv.errors import UserError
from freediv.model import encode, read_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from .conftest import BAD, GOOD, SPECIAL, Task, make_tokenizer

TEXTS = ["the film was delightful", "the film was superb and moving", "the story was dreadful"]
SIZE = 152


def cut() -> VocabularyCut:
    tokenizer = make_tokenizer()
    return cut_vocabulary(
        tokenizer, encode(tokenizer, TEXTS, 64, tokenizer.get_vocab_size()), SIZE, tokenizer.get_vocab_size()
    )


FULL, CUT = make_tokenizer(), cut()


def spelled(tokenizer: Tokenizer, text: str) -> str:
    return "".join(piece.removeprefix("##") for piece in tokenizer.encode(text).tokens)


@given(text=st.text(max_size=60))
@settings(deadline=None)
def test_any_text_that_tokenised_still_does_and_spells_the_same(text: str) -> None:
    assert spelled(CUT.tokenizer, text) == spelled(FULL, text)
    ids = CUT.tokenizer.encode(text).ids
    assert max(ids) < SIZE


def test_new_ids_stand_for_the_same_pieces() -> None:
    assert CUT.tokenizer.get_vocab_size() == SIZE == len(CUT.kept)
    for new, old in enumerate(CUT.kept):
        assert CUT.tokenizer.id_to_token(new) == FULL.id_to_token(int(old))
    tokens = CUT.tokenizer.encode("the film").tokens
    assert tokens == ["[CLS]", "the", "film", "[SEP]"]
    assert all(CUT.tokenizer.token_to_id(special) is not None for special in SPECIAL)


def test_the_pieces_that_the_data_uses_are_kept_before_those_it_does_not() -> None:
    kept = {piece for piece in GOOD + BAD if CUT.tokenizer.token_to_id(piece) is not None}
    assert {"delightful", "superb", "moving", "dreadful"} <= kept
    assert kept != set(GOOD + BAD)
    assert CUT.tokenizer.encode("hollow").tokens == ["[CLS]", *("h", "##o", "##l", "##l", "##o", "##w"), "[SEP]"]


def test_a_cut_tokenizer_reads_back_from_its_file(tmp_path) -> None:
    CUT.tokenizer.save(str(tmp_path / "tokenizer.json"))
    read = read_tokenizer(tmp_path)
    assert [ids.tolist() for ids in encode(read, TEXTS, 64, read.get_vocab_size())] == [
        ids.tolist() for ids in encode(CUT.tokenizer, TEXTS, 64, CUT.tokenizer.get_vocab_size())
    ]


def test_texts_are_cut_at_the_longest_length_with_their_last_special_token(task: Task) -> None:
    tokenizer = read_tokenizer(task.pretrained)
    (ids,) = encode(tokenizer, ["the film " * 50], 10, tokenizer.get_vocab_size())
    assert len(ids) == 10
    assert ids[-1] == tokenizer.token_to_id("[SEP]")


def test_too_small_a_vocabulary_and_another_kind_of_tokenizer_are_refused() -> None:
    with pytest.raises(UserError, match=r"embedding\.vocabulary: 64 is too small"):
        cut_vocabulary(FULL, [np.array([1])], 64, FULL.get_vocab_size())
    with pytest.raises(UserError, match=r"embedding\.vocabulary: the tokenizer is WordLevel"):
        cut_vocabulary(Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), [np.array([1])], 1, 2)
