"""Texts, read by a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ...errors import UserError
from ..architecture import Architecture
from ..pieces.cut import Cut
from ..pieces.pairs import Text
from ..pieces.tokenizer import encode_counted, reading
from ..pieces.word_pieces import encode
from .given import Given, Image, misfit
from .reader import Reader
from .tokenizer_directory import write_tokenizer


class TextReader(Reader):
    """A tokenizer, and the word pieces that it makes."""

    noun = "text"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def sequences(
        self, given: Sequence[Given], architecture: Architecture, longest: int | None = None
    ) -> list[np.ndarray]:
        return encode(self.tokenizer, texts_of(given), longest or architecture.positions, architecture.vocabulary)

    def read(self, given: Sequence[Given], architecture: Architecture, longest: int | None) -> list[Cut]:
        texts = texts_of(given)
        self.tokenizer.no_truncation()
        if longest is not None:
            self.tokenizer.enable_truncation(longest)
        with reading(texts):
            found = self.tokenizer.encode_batch(list(texts))
        self.tokenizer.no_truncation()
        return [Cut(text, one) for text, one in zip(texts, found, strict=True)]

    def counted(self, given: Sequence[Given], architecture: Architecture, longest: int | None) -> Iterator[Cut]:
        texts = texts_of(given)
        for text, encoding in zip(texts, encode_counted(self.tokenizer, texts, longest), strict=True):
            yield Cut(text, encoding)

    def content(self) -> str:
        return str(self.tokenizer.to_str())

    def write(self, directory: Path, source: Path) -> None:
        write_tokenizer(self.tokenizer, directory, source)


def texts_of(given: Sequence[Given]) -> list[Text]:
    """The same, if all are texts.

    Raises:
        UserError: one is an image.
    """
    texts: list[Text] = []
    for number, one in enumerate(given, start=1):
        if isinstance(one, Image):
            raise UserError(f"number {number} {''.join(misfit(one, images=False) or ())}")
        texts.append(one)
    return texts
