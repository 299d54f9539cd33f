"""Pictures that strangers made, into what reads them: numbers that a model may see, or one line; and no memory for what
is announced.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from freediv.door.pictures import read_inputs
from freediv.door.refusals import Refusal
from freediv.errors import one_line
from freediv.model import read_model, read_reader
from freediv.owners.sentences import UnfitImage, make_batches
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile
from vision import SOURCE, bomb

from .test_parsers import damaged, fuzz

ARCHITECTURE, READER = read_model(SOURCE).architecture, read_reader(SOURCE)
MOST = 1 << 22


def saved(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


SOUND = [saved("PNG"), saved("JPEG"), saved("JPEG", progressive=True)]


@fuzz
@given(content=st.sampled_from(SOUND).flatmap(damaged) | st.binary(max_size=64))
def test_a_picture_is_read_or_refused(content: bytes) -> None:
    sent = base64.b64encode(content).decode()
    try:
        images = read_inputs([sent], "inputs", images=True, most_pixels=MOST)
        [batch] = make_batches(images, READER, ARCHITECTURE, buckets=(18,), max_batch=1)
    except (UnfitImage, Refusal) as refused:
        assert one_line(str(refused)) == str(refused)
        return
    patches = ARCHITECTURE.patches
    assert patches is not None
    assert batch.read.shape == (1, patches.rows, patches.row_size)
    assert np.abs(batch.read).max() <= patches.largest_pixel + 1e-6


def test_a_picture_of_many_pixels_is_refused_by_its_first_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for content in (bomb(8200), bomb(30_000), SOUND[1].replace(b"\x00\x18\x00\x18", b"\xff\xff\xff\xff")):
        with pytest.raises(UnfitImage, match=r"^sentence 1 has more than 67,108,864 pixels"):
            read_inputs([base64.b64encode(content).decode()], "inputs", images=True, most_pixels=MOST)
    small = base64.b64encode(SOUND[2]).decode()
    with pytest.raises(Refusal, match="more than 1,000 pixels together"):
        read_inputs([small, small], "inputs", images=True, most_pixels=1000)
