"""Images, read by an image processor and cut into patches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..architecture import Architecture
from .given import Given, Image, misfit
from .processor import FILE, ImageProcessor
from .reader import Reader


@dataclass(frozen=True)
class Picture:
    """An image as the model reads it: its patches, after rows of no image."""

    given: Image
    sequence: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def pieces(self) -> list[str]:
        """It has none."""
        return []


class ImageReader(Reader):
    """An image processor; how many patches there are, the architecture says, and nothing that an image shows."""

    noun = "image"

    def __init__(self, processor: ImageProcessor) -> None:
        self.processor = processor

    def sequences(
        self, given: Sequence[Given], architecture: Architecture, longest: int | None = None
    ) -> list[np.ndarray]:
        return [one.sequence for one in self.read(given, architecture, longest)]

    def read(self, given: Sequence[Given], architecture: Architecture, longest: int | None) -> list[Picture]:
        return list(self.counted(given, architecture, longest))

    def counted(self, given: Sequence[Given], architecture: Architecture, longest: int | None) -> Iterator[Picture]:
        patches = architecture.patches
        assert patches is not None
        for number, one in enumerate(given, start=1):
            if not isinstance(one, Image):
                raise UserError(f"number {number} {''.join(misfit(one, images=True) or ())}")
            yield Picture(one, patches.cut(self.processor.pixels(one, patches)))

    def content(self) -> str:
        return self.processor.model_dump_json()

    def write(self, directory: Path, source: Path) -> None:
        written = json.dumps(self.processor.model_dump(mode="json"), indent=2)
        (directory / FILE).write_text(written + "\n", encoding="utf-8")
