"""What a tokenizer made of a text: its word pieces, and where in the text each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from tokenizers import Encoding

from .pairs import Text


@dataclass(frozen=True)
class Cut:
    """A text, or a pair, in word pieces, special ones among them."""

    text: Text = field(repr=False)
    encoding: Encoding = field(repr=False)

    def __len__(self) -> int:
        return len(self.encoding.ids)

    @property
    def given(self) -> Text:
        """What it was made of."""
        return self.text

    @property
    def sequence(self) -> np.ndarray:
        """The pieces' ids, int32 [pieces]."""
        return np.array(self.encoding.ids, np.int32)

    @property
    def pieces(self) -> list[str]:
        """The pieces as the vocabulary has them."""
        return list(self.encoding.tokens)

    def words(self) -> Iterator[tuple[int, list[int]]]:
        """Of every word the number of its text (0, or 1 for a pair's second) and the places of its pieces, in order.

        Words are what the tokenizer cuts a text into before it looks anything up; special pieces are of none.
        """
        members = zip(self.encoding.sequence_ids, self.encoding.word_ids, strict=True)
        for (text, word), run in groupby(enumerate(members), key=lambda one: one[1]):
            if text is not None and word is not None:
                yield text, [place for place, _ in run]

    def extent(self, first: int, last: int) -> tuple[int, int]:
        """Where pieces from `first` to `last`, of one text, begin and end in it, in characters."""
        offsets = self.encoding.offsets
        return int(offsets[first][0]), int(offsets[last][1])

    def between(self, text: int, start: int, stop: int) -> str:
        """The characters of a text from `start` to before `stop`."""
        both = (self.text,) if isinstance(self.text, str) else self.text
        return both[text][start:stop]
