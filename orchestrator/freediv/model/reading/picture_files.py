"""PNG and JPEG, known by what is in them and never by a name: in files, or as their content."""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps

from ...errors import UserError
from .given import Image as GivenImage

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
MOST_PIXELS = 1 << 26
"""Of one image: what has more is not decoded."""
_TOO_MANY = f"has more than {MOST_PIXELS:,} pixels; make it smaller"
_WIDE = ("I", "F")  # modes with more than 8 bits a channel begin so
_DECODING = threading.Lock()
"""Held while an image is decoded, whoever asks for it: what memory that takes is one image's."""


class UnreadableImage(UserError):  # noqa: N818 (an event, not a mistake)
    """An image that a model cannot read: why (`reason`), after the name of the file if it is one."""

    def __init__(self, image: GivenImage, reason: str) -> None:
        super().__init__(f"{image if isinstance(image, Path) else 'an image'}: {reason}")
        self.reason = reason


def begins_as_image(content: bytes) -> bool:
    """Whether it is a PNG or JPEG, by its first bytes."""
    return content.startswith(_SIGNATURES)


def count_pixels(image: GivenImage) -> int:
    """How many an image has, as it says itself; nothing is decoded.

    Raises:
        UnreadableImage: as `read_image`.
    """
    with _opened(image) as file:
        return math.prod(file.size)


def read_image(image: GivenImage, mode: str) -> Image.Image:
    """An image, the right way up, in a mode of Pillow's.

    Raises:
        UnreadableImage: it is no PNG or JPEG, or too large, or has more than 8 bits a channel.
    """
    with _DECODING, _opened(image) as file:
        return ImageOps.exif_transpose(file).convert(mode)


@contextmanager
def _opened(image: GivenImage) -> Iterator[Image.Image]:
    """An image of which the size is known, and fits; what goes wrong with it here is said in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            source = image if isinstance(image, Path) else io.BytesIO(image)
            with Image.open(source, formats=("PNG", "JPEG")) as file:
                if math.prod(file.size) > MOST_PIXELS:
                    raise UnreadableImage(image, _TOO_MANY)
                if file.mode.startswith(_WIDE):
                    raise UnreadableImage(image, "has more than 8 bits a channel; save it with 8")
                yield file
    except UnreadableImage:
        raise
    except FileNotFoundError:
        raise UnreadableImage(image, "no such file") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnreadableImage(image, _TOO_MANY) from None
    except Exception as error:  # Pillow's readers raise what the file makes them
        raise UnreadableImage(image, f"cannot be read as a PNG or JPEG image ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said.lower() if said else type(error).__name__
