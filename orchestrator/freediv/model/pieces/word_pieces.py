"""Texts in a model's word pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer

from ...errors import UserError
from .pairs import Text
from .tokenizer import reading


def encode(tokenizer: Tokenizer, texts: Sequence[Text], longest: int, vocabulary: int) -> list[np.ndarray]:
    """Token ids of each text or pair with its special tokens, int32 [pieces], cut at `longest`; the longer of a pair
    gives way first.

    Raises:
        UserError: a piece is beyond the model's word table, which has `vocabulary` rows.
    """
    tokenizer.enable_truncation(longest)
    with reading(texts):
        encoded = tokenizer.encode_batch_fast(list(texts))
    tokenizer.no_truncation()
    sequences = [encoding.ids for encoding in encoded]
    if (found := beyond_table(sequences, vocabulary)) is not None:
        text, number = found
        raise UserError(
            f"text {text + 1} has the word piece {tokenizer.id_to_token(number)!r}, which is number {number}, and the "
            f"model's word table has {vocabulary} rows; give the model its own tokenizer.json, or leave the text out"
        )
    return [np.array(sequence, np.int32) for sequence in sequences]


def beyond_table(sequences: Iterable[Sequence[int]], vocabulary: int) -> tuple[int, int] | None:
    """The first sequence's place and its first token id that a table of `vocabulary` rows does not have, if any."""
    for place, sequence in enumerate(sequences):
        if max(sequence, default=0) >= vocabulary:
            return place, next(number for number in sequence if number >= vocabulary)
    return None
