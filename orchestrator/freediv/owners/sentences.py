"""From sentences, or pairs of them, to batches of word pieces, of which the parties see the shape and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

from ..errors import UserError
from ..model import Text, beyond_table, bucket_for
from ..model.pieces.cut import Cut
from ..model.pieces.pairs import has_half_character
from ..model.pieces.tokenizer import encode_counted


@dataclass(frozen=True)
class Batch:
    """Sentences of one bucket.

    `rows` are their places among all sentences, `cuts` what the tokenizer made of them; `token_ids` and `mask` are
    [batch, length].
    """

    rows: tuple[int, ...]
    token_ids: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    cuts: tuple[Cut, ...] = field(default=(), repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Batch and length, which is all that the parties learn."""
        batch, length = self.token_ids.shape
        return batch, length


class UnfitText(UserError):  # noqa: N818 (an event, not a mistake)
    """A text that the model in use cannot read: which (`row`, from 0), and why, without a word of it.

    `reason` is without the advice to who gives texts to a command.
    """

    def __init__(self, row: int, reason: str, advice: str) -> None:
        super().__init__(f"sentence {row + 1} {reason}{advice}")
        self.row, self.reason = row, reason


class EmptyText(UnfitText):
    """A text without a word."""


_TOO_LONG = ": shorten it, or have it cut there with --truncate (in Python: truncate=True)"


def make_batches(
    texts: Sequence[Text],
    tokenizer: Tokenizer,
    *,
    buckets: Sequence[int],
    max_batch: int,
    vocabulary: int,
    pad_token: int,
    pairs: bool = False,
    truncate: bool = False,
    as_one: bool = False,
) -> list[Batch]:
    """Tokenise sentences, pad each to the shortest bucket that holds it, and put those of one bucket together.

    With `as_one`, all are of one batch, whose answers are told of together. With `truncate`, what is longer than the
    longest bucket is cut there, as the tokenizer does it.

    Raises:
        UnfitText: a sentence is empty or longer than the longest bucket, or a pair where the model reads single
            sentences, or the other way round.
        UserError: the tokenizer is not this model's, or `as_one` there are too many.
    """
    if as_one and len(texts) > max_batch:
        raise UserError(
            f"the parties tell the order of up to {max_batch} texts, as the topology's max_batch has it; {len(texts)} "
            "are given"
        )
    for row, text in enumerate(texts):
        both = (text,) if isinstance(text, str) else text
        if pairs and len(both) == 1:
            raise UnfitText(
                row, "is one text, and the model in use reads pairs", ": give two with --pair (in Python: a tuple)"
            )
        if not pairs and len(both) == 2:
            raise UnfitText(row, "is a pair, and the model in use reads single texts", ": give one")
        if not all(part.strip() for part in both):
            raise EmptyText(row, "is empty", "; remove it")
        if has_half_character(text):
            raise UnfitText(row, "holds half a character (a lone surrogate)", "; give it in UTF-8")
    by_bucket: dict[int, list[tuple[int, Cut]]] = {bucket: [] for bucket in buckets}
    for row, cut in enumerate(_cuts(tokenizer, texts, buckets[-1] if truncate else None)):
        try:
            bucket = bucket_for(buckets, len(cut))
        except ValueError as error:
            raise UnfitText(row, f"has {error}", _TOO_LONG) from None
        if beyond_table([cut.encoding.ids], vocabulary) is not None:
            raise UserError(
                "the model's tokenizer makes word pieces that the model does not have; tell the model owner"
            )
        by_bucket[bucket].append((row, cut))
    if as_one:
        longest = max(length for length, own in by_bucket.items() if own)
        members = [one for own in by_bucket.values() for one in own]
        by_bucket = {longest: sorted(members, key=lambda one: one[0])}
    batches = []
    for bucket, members in by_bucket.items():
        for start in range(0, len(members), max_batch):
            batches.append(_pad(members[start : start + max_batch], bucket, pad_token))
    return batches


def _cuts(tokenizer: Tokenizer, texts: Sequence[Text], longest: int | None) -> Iterator[Cut]:
    try:
        for text, encoding in zip(texts, encode_counted(tokenizer, texts, longest), strict=True):
            yield Cut(text, encoding)
    except ValueError as error:
        raise UserError(f"{error}; tell the model owner") from None


def _pad(members: list[tuple[int, Cut]], length: int, pad_token: int) -> Batch:
    token_ids = np.full((len(members), length), pad_token, np.int32)
    mask = np.zeros((len(members), length), np.int32)
    for index, (_, cut) in enumerate(members):
        token_ids[index, : len(cut)] = cut.encoding.ids
        mask[index, : len(cut)] = 1
    rows, cuts = zip(*members, strict=True)
    return Batch(rows, token_ids, mask, cuts)
