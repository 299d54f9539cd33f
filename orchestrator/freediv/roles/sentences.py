"""From sentences, or pairs of them, to batches of word pieces, of which the parties see the shape and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from ..errors import UserError
from ..transformer import Text


@dataclass(frozen=True)
class Batch:
    """Sentences of one bucket.

    `rows` are their places among all sentences; `token_ids` and `mask` are [batch, length].
    """

    rows: tuple[int, ...]
    token_ids: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Batch and length, which is all that the parties learn."""
        batch, length = self.token_ids.shape
        return batch, length


def make_batches(
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    *,
    buckets: Sequence[int],
    max_batch: int,
    vocabulary: int,
    pad_token: int,
    pairs: bool = False,
) -> list[Batch]:
    """Tokenise sentences, pad each to the shortest bucket that holds it, and put those of one bucket together.

    Raises:
        UserError: a sentence is empty or longer than the longest bucket, a pair where the model reads single sentences
            or the other way round, or the tokenizer is not this model's; says which sentence, never what it says.
    """
    for number, text in enumerate(texts, start=1):
        both = (text,) if isinstance(text, str) else text
        if pairs and len(both) == 1:
            raise UserError(f"sentence {number} is one text, and the model in use reads pairs: give two with --pair")
        if not pairs and len(both) == 2:
            raise UserError(f"sentence {number} is a pair, and the model in use reads single texts: give one")
        if not all(part.strip() for part in both):
            raise UserError(f"sentence {number} is empty; remove it")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    by_bucket: dict[int, list[tuple[int, list[int]]]] = {bucket: [] for bucket in buckets}
    for row, encoding in enumerate(tokenizer.encode_batch(list(texts))):
        ids = encoding.ids
        bucket = next((bucket for bucket in buckets if len(ids) <= bucket), None)
        if bucket is None:
            raise UserError(
                f"sentence {row + 1} has {len(ids)} word pieces; at most {buckets[-1]} are served: shorten it"
            )
        if max(ids, default=0) >= vocabulary:
            raise UserError(
                "the model's tokenizer makes word pieces that the model does not have; tell the model owner"
            )
        by_bucket[bucket].append((row, ids))
    batches = []
    for bucket, members in by_bucket.items():
        for start in range(0, len(members), max_batch):
            batches.append(_pad(members[start : start + max_batch], bucket, pad_token))
    return batches


def _pad(members: list[tuple[int, list[int]]], length: int, pad_token: int) -> Batch:
    token_ids = np.full((len(members), length), pad_token, np.int32)
    mask = np.zeros((len(members), length), np.int32)
    for index, (_, ids) in enumerate(members):
        token_ids[index, : len(ids)] = ids
        mask[index, : len(ids)] = 1
    return Batch(tuple(row for row, _ in members), token_ids, mask)
