"""Sentences into batches: nothing lost, nothing moved, and only bucket and batch to be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tiny
from freediv.errors import UserError
from freediv.model import Text
from freediv.model.reading.texts import TextReader
from freediv.owners.sentences import Batch, make_batches
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["[PAD]", "one", "two", "three"]
BUCKETS = (4, 8)


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def batched(
    texts: Sequence[Text], made: Tokenizer, *, max_batch: int = 1, vocabulary: int = 4, pairs: bool = False, **how: bool
) -> list[Batch]:
    architecture = tiny.architecture(vocabulary=vocabulary, separator_token=2 if pairs else None)
    return make_batches(texts, TextReader(made), architecture, buckets=BUCKETS, max_batch=max_batch, **how)


SENTENCES = st.lists(
    st.lists(st.sampled_from(WORDS[1:]), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=20
)


@given(SENTENCES, st.integers(1, 5))
def test_every_sentence_is_in_one_batch_whole(sentences: list[str], max_batch: int) -> None:
    batches = batched(sentences, tokenizer(), max_batch=max_batch)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(sentences)))
    for batch in batches:
        size, length = batch.shape
        assert size == len(batch.rows) <= max_batch
        assert length in BUCKETS
        for index, row in enumerate(batch.rows):
            words = sentences[row].split()
            assert length == min(bucket for bucket in BUCKETS if bucket >= len(words))
            assert [WORDS[i] for i in batch.read[index, : len(words)]] == words
            assert batch.mask[index].tolist() == [1] * len(words) + [0] * (length - len(words))
            assert not np.any(batch.read[index, len(words) :])


def test_a_tokenizer_of_a_larger_vocabulary_is_noticed() -> None:
    with pytest.raises(UserError, match="tell the model owner"):
        batched(["three"], tokenizer(), vocabulary=3)


def test_a_tokenizers_own_truncation_is_not_silently_applied() -> None:
    short = tokenizer()
    short.enable_truncation(2)
    with pytest.raises(UserError, match="has 9 word pieces; at most 8"):
        batched(["one " * 9], short)


def test_a_long_sentence_is_cut_where_that_is_asked_for_and_ends_as_others_do() -> None:
    made = tokenizer()
    made.post_processor = processors.TemplateProcessing(single="$A three", special_tokens=[("three", 3)])
    with pytest.raises(UserError, match=r"has 10 word pieces; at most 8 are served: .* --truncate"):
        batched(["two " * 9], made)
    [batch] = batched(["two " * 9], made, truncate=True)
    assert batch.read.tolist() == [[2] * 7 + [3]]


def test_half_a_character_is_named_by_its_sentences_number() -> None:
    for text in ("one \udc80", "\ud83d two"):  # a byte that is no UTF-8; half of an emoji, as JSON escapes it
        with pytest.raises(UserError, match="sentence 2 holds half a character") as caught:
            batched(["one", text], tokenizer())
        assert "two" not in str(caught.value)


def test_an_empty_sentence_is_named_by_its_number() -> None:
    with pytest.raises(UserError, match="sentence 2 is empty"):
        batched(["one", "  "], tokenizer())


def test_pairs_go_to_models_that_read_pairs_and_single_sentences_to_others() -> None:
    made = tokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A three $B:1", special_tokens=[("three", 3)]
    )

    def batches(*texts: str | tuple[str, str], pairs: bool) -> list[list[int]]:
        found = batched(texts, made, max_batch=4, pairs=pairs)
        return [ids.tolist() for batch in found for ids in batch.read]

    assert batches(("one", "two"), pairs=True) == [[1, 3, 2, 0]]
    with pytest.raises(UserError, match="sentence 2 is one text, and the model in use reads pairs"):
        batches(("one", "two"), "one", pairs=True)
    with pytest.raises(UserError, match="sentence 1 is a pair, and the model in use reads single texts"):
        batches(("one", "two"), pairs=False)
    with pytest.raises(UserError, match="sentence 1 is empty"):
        batches(("one", " "), pairs=True)


def test_a_text_of_more_pieces_than_characters_goes_nowhere() -> None:
    """However a tokenizer came here: the number of pieces would say which texts it repeats."""
    repeating = tokenizer()
    repeating.normalizer = normalizers.Replace("one", "two " * 6)
    assert batched(["two two"], repeating)
    with pytest.raises(UserError, match=r"more pieces of a text than that has characters.*tell the model owner"):
        batched(["one"], repeating)


def test_a_tokenizer_that_cannot_read_a_text_is_one_line_without_it() -> None:
    silent = Tokenizer(models.WordLevel({"one": 0}, unk_token="none"))
    silent.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(UserError, match="tokenizer cannot read a text") as refused:
        batched(["one secret"], silent)
    assert "secret" not in str(refused.value)
