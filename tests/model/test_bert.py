"""The model against an implementation that nobody here wrote: an ONNX export run by onnxruntime."""

import numpy as np
import onnxruntime
import pytest
from freediv.model import hidden_states, read_pretrained
from onnx_export import onnx_file, write_directory


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    file = onnx_file()
    return onnxruntime.InferenceSession(file), write_directory(file, tmp_path_factory.mktemp("onnx") / "model")


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
