"""Images as rows: Dosovitskiy et al. 2021 (ViT), section 3.1; and a second token beside the class token, as Touvron et
al. 2021 (DeiT) have it. An image has one size, so that how many rows there are is public, and none is padding.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

_LARGEST = 1 << 12
_BEYOND = 1 << 10


class Patches(BaseModel):
    """What images a model reads, and how it cuts them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(ge=1, le=_LARGEST, description="of an image, in pixels")
    width: int = Field(ge=1, le=_LARGEST)
    patch_height: int = Field(ge=1, le=_LARGEST, description="of a patch; what is left over at the edge is not seen")
    patch_width: int = Field(ge=1, le=_LARGEST)
    channels: int = Field(default=3, ge=1, le=4)
    tokens: int = Field(default=1, ge=1, le=2, description="rows before the patches that are of no image")
    largest_pixel: float = Field(
        default=1.0, gt=0, le=_BEYOND, description="magnitude, of an image that was made ready"
    )

    ranges: tuple[tuple[float, float], ...] = Field(
        default=(),
        max_length=4,
        description="the least and the largest number of each channel, with which parties compare all that is sent; "
        "none: they do not",
    )

    @model_validator(mode="after")
    def _seen(self) -> Patches:
        if len(self.ranges) not in (0, self.channels):
            raise ValueError(f"ranges: {len(self.ranges)} of them for {self.channels} channels")
        if not all(-_BEYOND <= least < largest <= _BEYOND for least, largest in self.ranges):
            raise ValueError(f"ranges: each is from a number to a larger one, of at most {_BEYOND} either way")
        if self.patch_height > self.height or self.patch_width > self.width:
            patch, image = f"{self.patch_height} x {self.patch_width}", f"{self.height} x {self.width}"
            raise ValueError(f"a patch of {patch} pixels is larger than an image of {image}")
        return self

    @property
    def rows(self) -> int:
        """Of an image, and of what stands before it."""
        return self.tokens + (self.height // self.patch_height) * (self.width // self.patch_width)

    @property
    def row_size(self) -> int:
        """Numbers of a patch."""
        return self.channels * self.patch_height * self.patch_width

    @property
    def longest_row(self) -> float:
        """The length (Euclidean) that no patch of an image that was made ready exceeds."""
        return self.largest_pixel * math.sqrt(self.row_size)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels [channels, height, width] as rows [rows, row_size], each ordered as a convolution's weights are; rows
        of no image are zero.
        """
        high, wide = self.height // self.patch_height, self.width // self.patch_width
        seen = pixels[:, : high * self.patch_height, : wide * self.patch_width]
        tiles = seen.reshape(self.channels, high, self.patch_height, wide, self.patch_width)
        patches = tiles.transpose(1, 3, 0, 2, 4).reshape(high * wide, self.row_size)
        return np.concatenate([np.zeros((self.tokens, self.row_size), np.float32), patches]).astype(np.float32)
