"""A tiny vision transformer whose labels are no close calls, and pictures of which it says several."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from freediv.conversion.measures.predicting import Plaintext, predict
from freediv.model import Certificate, Model, convert_functions, read_model, write_model

SOURCE = Path(__file__).parent / "model" / "families" / "deit-classifier"
PICTURES = sorted(SOURCE.glob("*.png"))


def said(model: Model) -> list[Plaintext]:
    """Of the pictures, in plaintext."""
    return predict(model, PICTURES)


def make_vision(directory: Path) -> Path:
    """A DeiT with cheap functions, written down."""
    model = read_model(SOURCE)
    cheap = {"attention": "2quad-freediv", "activation": "quad"}
    functions = tuple(one.model_copy(update=cheap) for one in model.architecture.functions)
    model = replace(convert_functions(model, functions=functions), certificate=Certificate(headroom_bits=8.0))
    logits, head = np.stack([one.outputs for one in said(model)]), dict(model.parameters["classifier"])
    head["weight"], head["bias"] = 3 * head["weight"], 3 * (head["bias"] - logits.mean(axis=0))
    model = replace(model, parameters={**model.parameters, "classifier": head})
    write_model(model, directory)
    best, second = np.sort(np.stack([one.outputs for one in said(model)]), axis=1)[:, :-3:-1].T
    assert (best - second).min() > 0.1
    return directory


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes, in which all is black."""
    lines = zlib.compress(bytes((side // 8 + 1) * side), 9)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", lines), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
