"""From sentences, or pairs of them, to batches of word pieces, and from images to batches of rows: of both the parties
see the shape and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from ..model import Architecture, Given, Reader, beyond_table, bucket_for
from ..model.pieces.pairs import has_half_character
from ..model.reading.given import Image, misfit
from ..model.reading.picture_files import UnreadableImage
from ..model.reading.reader import Read


@dataclass(frozen=True)
class Batch:
    """Sentences of one bucket, or images.

    `rows` are their places among all, `cuts` what was read of them; `mask` is [batch, length], `read` too, ids of word
    pieces, or [batch, length, row_size], rows of images.
    """

    rows: tuple[int, ...]
    read: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    cuts: tuple[Read, ...] = field(default=(), repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Batch and length, which is all that the parties learn."""
        batch, length = self.mask.shape
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


class UnfitImage(UnfitText):
    """An image, given as its content, that cannot be read."""


_TOO_LONG = ": shorten it, or have it cut there with --truncate (in Python: truncate=True)"


def make_batches(
    texts: Sequence[Given],
    reader: Reader,
    architecture: Architecture,
    *,
    buckets: Sequence[int],
    max_batch: int,
    truncate: bool = False,
    as_one: bool = False,
) -> list[Batch]:
    """Read sentences, pad each to the shortest bucket that holds it, and put those of one bucket together; or images,
    which need no padding.

    With `as_one`, all are of one batch, whose answers are told of together. With `truncate`, what is longer than the
    longest bucket is cut there, as the tokenizer does it.

    Raises:
        UnfitText: a sentence is empty or longer than the longest bucket, or a pair where the model reads single
            sentences, or an image where it reads texts, or the other way round; or an image without a name cannot be
            read.
        UserError: an image in a file cannot be read, the tokenizer is not this model's, or `as_one` there are too many.
    """
    if as_one and len(texts) > max_batch:
        raise UserError(
            f"the parties tell the order of up to {max_batch} texts, as the topology's max_batch has it; {len(texts)} "
            "are given"
        )
    for row, text in enumerate(texts):
        _require_fitting(row, text, architecture)
    by_bucket: dict[int, list[tuple[int, Read]]] = {bucket: [] for bucket in buckets}
    for row, cut in enumerate(_read(reader, texts, architecture, buckets[-1] if truncate else None)):
        try:
            bucket = bucket_for(buckets, len(cut))
        except ValueError as error:
            raise UnfitText(row, f"has {error}", _TOO_LONG) from None
        if architecture.padded and beyond_table([cut.sequence.tolist()], architecture.vocabulary) is not None:
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
            batches.append(_pad(members[start : start + max_batch], bucket, architecture.pad_token))
    return batches


def _require_fitting(row: int, text: Given, architecture: Architecture) -> None:
    if (why := misfit(text, images=not architecture.padded)) is not None:
        raise UnfitText(row, *why)
    if isinstance(text, Image):
        return
    pairs, both = architecture.pairs, (text,) if isinstance(text, str) else text
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


def _read(reader: Reader, texts: Sequence[Given], architecture: Architecture, longest: int | None) -> Iterator[Read]:
    row = 0
    try:
        for read in reader.counted(texts, architecture, longest):
            yield read
            row += 1
    except UnreadableImage as error:
        if isinstance(texts[row], bytes):
            raise UnfitImage(row, error.reason, "") from None
        raise
    except ValueError as error:
        raise UserError(f"{error}; tell the model owner") from None


def _pad(members: list[tuple[int, Read]], length: int, pad_token: int) -> Batch:
    first = members[0][1].sequence
    read = np.full((len(members), length, *first.shape[1:]), pad_token, first.dtype)
    mask = np.zeros((len(members), length), np.int32)
    for index, (_, cut) in enumerate(members):
        read[index, : len(cut)] = cut.sequence
        mask[index, : len(cut)] = 1
    rows, cuts = zip(*members, strict=True)
    return Batch(rows, read, mask, cuts)
