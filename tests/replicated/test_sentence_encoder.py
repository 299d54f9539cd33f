"""A sentence encoder that people use, on shares: its vectors, and how near they are, are those of the export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from freediv.model import read_model
from freediv.model.answers import VECTOR
from mpc.parties import Parties
from onnx_export import onnx_file, write_directory

LENGTH = 8
SENTENCES = (
    [101, 2023, 3185, 2003, 2307, 102],  # this movie is great
    [101, 1996, 2143, 2001, 6919, 102],  # the film was wonderful
    [101, 2054, 2051, 2515, 1996, 3345, 2681, 102],  # what time does the train leave
)


def sentence_encoder(directory: Path) -> Path:
    """As sentence-transformers has it: the mean of all pieces."""
    write_directory(onnx_file(), directory)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8")) | {"architectures": ["BertModel"]}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    modules = [{"type": f"sentence_transformers.models.{name}", "path": ""} for name in ("Transformer", "Pooling")]
    (directory / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}', encoding="utf-8")
    return directory


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit @ unit.T


def test_private_vectors_are_as_near_as_the_exports(tmp_path: Path) -> None:
    model = read_model(sentence_encoder(tmp_path / "model"))
    token_ids, mask = np.zeros((3, LENGTH), np.int32), np.zeros((3, LENGTH), np.int32)
    for row, sentence in enumerate(SENTENCES):
        token_ids[row, : len(sentence)], mask[row, : len(sentence)] = sentence, 1
    session = onnxruntime.InferenceSession(onnx_file())
    asked = {"input_ids": token_ids.astype(np.int64), "attention_mask": mask.astype(np.int64)}
    [wanted] = [out for out in session.run(None, asked) if out.shape == (3, model.architecture.hidden)]
    # Its words are anybody's: the table that it was published with.
    architecture = model.architecture.model_copy(update={"embedding": "public"})
    served = replace(model, architecture=architecture)
    with Parties(products="shares") as parties:
        parties.join().load(tmp_path, served.architecture, served.parameters, output="label")
        values = parties.predict(token_ids, mask, served.public_table)
    found = VECTOR.private(VECTOR.decode(architecture, values, "label"))
    assert VECTOR.right(found, wanted).all()
    np.testing.assert_allclose(cosines(found), cosines(wanted), atol=2e-3)
    assert cosines(found)[0, 1] > 0.6 > cosines(found)[0, 2] + 0.3
