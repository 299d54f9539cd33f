"""Images in HTTP: as a body of their own, or in base64 within JSON, which a body becomes. What is one is known by what
is in it; nothing of it, nor of a file's name, is kept or noted.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from ..model import Given, Text
from ..model.reading.picture_files import UnreadableImage, begins_as_image, count_pixels
from ..owners.sentences import UnfitImage
from .refusals import Refusal

KINDS = ("image/png", "image/jpeg")
"""Of bodies, as the description names them."""
_MARK = "data:application/octet-stream;base64,"
_MARKED = re.compile(r"data:[\w.+/-]*;base64,")
_LIKELY = ("iVBORw0KGgo", "/9j/")
"""How a PNG begins in base64, and a JPEG."""


def is_kind(kind: str) -> bool:
    """Whether bodies of a content type may be images: some programs say nothing."""
    return kind.startswith("image/") or kind in ("application/octet-stream", "")


def as_json(body: bytes) -> bytes:
    """An image's body as the one that says the same in JSON."""
    return b'{"inputs":"%s%s"}' % (_MARK.encode(), base64.b64encode(body))


def read_inputs(texts: Sequence[Text], of: str, *, images: bool, most_pixels: int) -> list[Given]:
    """What a caller sent, to a model that reads images, or texts.

    Args:
        texts: as they were sent.
        of: what the caller calls them.
        images: whether the model reads images.
        most_pixels: of all images together.

    Raises:
        Refusal: one is a text to a model of images, or the other way round; or they have too many pixels.
        UnfitImage: one cannot be read.
    """
    if not images:
        for row, text in enumerate(texts):
            if isinstance(text, str) and _is_image(text):
                raise Refusal("Validation", f"`{of}` {row} is an image, and the model reads texts", status=422)
        return list(texts)
    found = [_content(text) for text in texts]
    pixels = 0
    for row, content in enumerate(found):
        if content is None:
            raise Refusal("Validation", f"`{of}` {row} is a text, and the model reads images: {_HOW}", status=422)
        try:
            pixels += count_pixels(content)
        except UnreadableImage as error:
            raise UnfitImage(row, error.reason, "") from None
    if pixels > most_pixels:
        raise Refusal("Validation", f"the images have more than {most_pixels:,} pixels together; send fewer at a time")
    return [content for content in found if content is not None]


_HOW = "send a PNG or JPEG as the body, or in base64 within JSON"


def _is_image(text: str) -> bool:
    if _MARKED.match(text):
        return True
    return text.startswith(_LIKELY) and begins_as_image(_content(text) or b"")


def _content(text: Text) -> bytes | None:
    """What a text is in base64; None where it is none."""
    if not isinstance(text, str):
        return None
    marked = _MARKED.match(text)
    try:
        return base64.b64decode(text[marked.end() if marked else 0 :], validate=True) or None
    except (binascii.Error, ValueError):
        return None
