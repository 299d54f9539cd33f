"""Image processors of Hugging Face directories, `preprocessor_config.json`: a picture becomes numbers of one size.

The steps are those of transformers' ViTImageProcessor and DeiTImageProcessor, in their order: resize by Pillow, crop
from the middle, multiply by a factor, take away a mean and divide by a deviation, channel by channel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..functions.patches import Patches
from .given import Image as GivenImage
from .picture_files import UnreadableImage, read_image

FILE = "preprocessor_config.json"
_MODES = {1: "L", 3: "RGB"}
_LARGEST = 1 << 12
_USUAL: dict[str, dict[str, Any]] = {
    "ViTImageProcessor": {"size": 224, "resample": 2, "do_center_crop": False},
    "DeiTImageProcessor": {"size": 256, "resample": 3, "do_center_crop": True},
}
"""What a configuration leaves out, by its class."""
_OF_FAMILIES = {"vit": "ViTImageProcessor", "deit": "DeiTImageProcessor"}

Side = Literal["height", "width", "shortest_edge"]


class ImageProcessor(BaseModel):
    """How a picture is made ready; fields are called as transformers calls them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    image_processor_type: Literal["ViTImageProcessor", "DeiTImageProcessor"]
    do_resize: bool = True
    size: dict[Side, int]
    resample: int = Field(ge=0, le=5, description="as Pillow numbers its filters")
    do_center_crop: bool
    crop_size: dict[Side, int] = Field(default={"height": 224, "width": 224})
    do_rescale: bool = True
    rescale_factor: float = Field(default=1 / 255, gt=0, le=1)
    do_normalize: bool = True
    image_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: tuple[float, ...] = (0.5, 0.5, 0.5)
    do_pad: Literal[False] | None = None

    @field_validator("size", "crop_size", mode="before")
    @classmethod
    def _sides(cls, given: Any) -> Any:
        """One number is both."""
        return {"height": given, "width": given} if isinstance(given, int) else given

    @field_validator("size", "crop_size")
    @classmethod
    def _known(cls, given: dict[Side, int]) -> dict[Side, int]:
        if set(given) not in ({"height", "width"}, {"shortest_edge"}):
            raise ValueError("is height and width, or shortest_edge")
        if not all(1 <= side <= _LARGEST for side in given.values()):
            raise ValueError(f"a side has 1 to {_LARGEST} pixels")
        return given

    @field_validator("image_mean", "image_std", mode="before")
    @classmethod
    def _channels(cls, given: Any) -> Any:
        return [given] if isinstance(given, int | float) else given

    @field_validator("image_std")
    @classmethod
    def _positive(cls, given: tuple[float, ...]) -> tuple[float, ...]:
        if not all(1e-3 <= one <= 1e6 for one in given):
            raise ValueError("deviations are above zero")
        return given

    @property
    def _made(self) -> tuple[int, int] | None:
        """Height and width of what comes out; None: they are the picture's own, in part."""
        last = self.crop_size if self.do_center_crop else self.size if self.do_resize else {}
        return (last["height"], last["width"]) if "height" in last else None

    def require_fitting(self, patches: Patches) -> None:
        """Raises ValueError: what comes out is not what a model with these patches reads."""
        wanted = (patches.height, patches.width)
        if self._made not in (wanted, None):
            made = " x ".join(map(str, self._made or ()))
            raise ValueError(f"makes images of {made} pixels, and the model reads {wanted[0]} x {wanted[1]}")
        if patches.channels not in _MODES:
            raise ValueError(f"the model reads {patches.channels} channels; images have 1 or 3")
        for name in ("image_mean", "image_std") if self.do_normalize else ():
            if len(getattr(self, name)) not in (1, patches.channels):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} numbers, and an image {patches.channels} channels"
                )

    @property
    def largest_pixel(self) -> float:
        """The largest magnitude of a number that comes out."""
        return float(np.abs(self.ranges(max(len(self.image_mean), len(self.image_std)))).max())

    def ranges(self, channels: int) -> tuple[tuple[float, float], ...]:
        """The least and the largest number that comes out, of each channel."""
        ends = np.array([0.0, 255 * (self.rescale_factor if self.do_rescale else 1.0)])
        if not self.do_normalize:
            return tuple((float(ends[0]), float(ends[1])) for _ in range(channels))
        mean, deviation = (np.broadcast_to(one, channels) for one in (self.image_mean, self.image_std))
        found = (ends - mean[:, None]) / deviation[:, None]
        return tuple((float(least), float(largest)) for least, largest in found)

    def pixels(self, picture: GivenImage, patches: Patches) -> np.ndarray:
        """A picture made ready, float32 [channels, height, width].

        Raises:
            UnreadableImage: it is none that can be read, or one of another size, where nothing resizes it.
        """
        image = read_image(picture, _MODES[patches.channels])
        if self.do_resize:
            height, width = _sides_of(self.size, image.height, image.width)
            image = image.resize((width, height), Image.Resampling(self.resample))
        x = np.asarray(image, np.uint8).reshape(image.height, image.width, -1)
        if self.do_center_crop:
            x = _cropped(x, *_sides_of(self.crop_size, *x.shape[:2]))
        if x.shape[:2] != (patches.height, patches.width):
            raise UnreadableImage(
                picture,
                f"is {x.shape[0]} x {x.shape[1]} pixels as the model's {FILE} has it, and the model reads "
                f"{patches.height} x {patches.width}; give one of that size",
            )
        numbers = (
            (x.astype(np.float64) * self.rescale_factor).astype(np.float32) if self.do_rescale else x.astype(np.float32)
        )
        if self.do_normalize:
            numbers = (numbers - np.array(self.image_mean, np.float32)) / np.array(self.image_std, np.float32)
        return numbers.transpose(2, 0, 1)


def parse_processor(found: Mapping[str, Any], family: str) -> ImageProcessor:
    """An image processor of a configuration, with what it leaves out.

    Raises:
        ValueError: another class, or a value that is not known; says in one line where and why.
    """
    named = found.get("image_processor_type") or found.get("feature_extractor_type") or _OF_FAMILIES.get(family)
    kind = str(named).removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if kind not in _USUAL:
        raise ValueError(f"image_processor_type is {str(named)[:80]!r}; freediv reads {', '.join(_USUAL)}")
    given = {key: value for key, value in found.items() if value is not None}
    try:
        return ImageProcessor.model_validate({**_USUAL[kind], **given, "image_processor_type": kind})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:4])
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _sides_of(sides: Mapping[Side, int], height: int, width: int) -> tuple[int, int]:
    if "height" in sides:
        return sides["height"], sides["width"]
    shortest = sides["shortest_edge"]
    longest = int(shortest * max(height, width) / min(height, width))
    return (shortest, longest) if height <= width else (longest, shortest)


def _cropped(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of x [height, width, channels], with zeros around it where it is smaller."""
    for axis, wanted in enumerate((height, width)):
        there = x.shape[axis]
        if there < wanted:
            before = math.ceil((wanted - there) / 2)
            around = [(0, 0)] * x.ndim
            around[axis] = (before, wanted - there - before)
            x = np.pad(x, around)
        else:
            start = (there - wanted) // 2
            x = x.take(range(start, start + wanted), axis=axis)
    return x
