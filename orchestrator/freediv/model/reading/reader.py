"""What reads for a model: the same for texts and for images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from ..architecture import Architecture
from .given import Given


class Read(Protocol):
    """What came of one text or image."""

    @property
    def given(self) -> Given:
        """What it was made of."""

    @property
    def sequence(self) -> np.ndarray:
        """As the model reads it: ids of word pieces, int32 [pieces], or rows of an image, float32 [rows, row_size]."""

    @property
    def pieces(self) -> list[str]:
        """The word pieces, as the vocabulary has them; none of an image."""

    def __len__(self) -> int: ...


class Reader(ABC):
    """A tokenizer, or an image processor.

    Attributes:
        noun: what one thing is called that it reads.
    """

    noun: ClassVar[str]

    @abstractmethod
    def sequences(
        self, given: Sequence[Given], architecture: Architecture, longest: int | None = None
    ) -> list[np.ndarray]:
        """`Read.sequence` of each; texts are cut at `longest`, or at what the model reads.

        Raises:
            UserError: one cannot be read.
        """

    @abstractmethod
    def read(self, given: Sequence[Given], architecture: Architecture, longest: int | None) -> Sequence[Read]:
        """What comes of each; texts are cut at `longest`, where that is given.

        Raises:
            UserError: one cannot be read.
        """

    @abstractmethod
    def counted(self, given: Sequence[Given], architecture: Architecture, longest: int | None) -> Iterator[Read]:
        """The same for a reader that a stranger chose: of what tells more of a text than it may, nothing comes. Texts
        are cut at `longest`, where that is given.

        Raises:
            ValueError: it tells too much, or cannot read one; says nothing of what was read.
            UserError: a file cannot be read.
        """

    @abstractmethod
    def content(self) -> str:
        """As data owners get it, in JSON: all that there is to it."""

    @abstractmethod
    def write(self, directory: Path, source: Path) -> None:
        """Write it into a model's directory, with what the directory `source`, of which it was read, says beside."""
