"""Weights as people have them: several files, what torch.save wrote, half precision; and what only looks like it."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.model import read_model, read_pretrained
from freediv.model.checkpoints.torch_file import read_torch_file
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
ALBERT, BERT = HERE / "families" / "albert-classifier", HERE / "families" / "bert-classifier"


def copied(source: Path, directory: Path, **config: Any) -> Path:
    """A copy, with another configuration."""
    shutil.copytree(source, directory)
    path = directory / "config.json"
    found = json.loads(path.read_text(encoding="utf-8")) | config
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not ...}), encoding="utf-8")
    return directory


def same_parameters(one: Path, other: Path) -> None:
    first, second = (read_model(directory).parameters for directory in (one, other))
    for stage, own in first.items():
        for name, value in own.items():
            np.testing.assert_array_equal(value, second[stage][name], f"{stage} {name}")


# --- what torch.save wrote ---


@pytest.mark.parametrize("name", ["tensors.bin", "tensors-legacy.bin"])
def test_tensors_are_read_as_pytorch_wrote_them(name: str) -> None:
    """A view, a transposed one, a parameter, one that two names share, half and double precision, whole numbers."""
    found = read_torch_file(HERE / "torch_files" / name)
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    expected = {
        "whole": whole,
        "transposed": whole.T,
        "part": whole[1:3, 2:5],
        "again": whole,
        "half": np.array([1.5, -2.25, 65504], np.float16),
        "double": np.array([[1 / 3]]),
        "position_ids": np.arange(5)[None],
        "parameter": np.full((2, 3), 0.5, np.float32),
        "scalar": np.array(7, np.float32),
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
    }
    assert found.keys() - expected.keys() == {"bfloat"}
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, key)
        assert found[key].dtype == value.dtype, key
    np.testing.assert_allclose(found["bfloat"], [1.5, -2.25, 3e38, 1e-3], rtol=2**-8)


def test_a_model_is_read_from_a_pytorch_file(tmp_path: Path) -> None:
    directory = copied(ALBERT, tmp_path / "model")
    (directory / "model.safetensors").unlink()
    shutil.copy(HERE / "torch_files" / "albert-classifier.bin", directory / "pytorch_model.bin")
    same_parameters(directory, ALBERT)


def rewritten(path: Path, change: Callable[[bytes], bytes], member: str = "data.pkl") -> None:
    """A PyTorch file of which one member is another."""
    old = zipfile.ZipFile(HERE / "torch_files" / "tensors.bin")
    with zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith(member) else content)


class Calls:
    """Pickled, it asks for a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def raw(*steps: bytes) -> bytes:
    return b"\x80\x02" + b"".join(steps) + b"."


ORDERED = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x18tQ"
DEEP = b")q\x00" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
"""A tuple of the same tuple twice, sixty times over: its hash takes two to the sixtieth steps."""

MALICIOUS = {
    "a command": (pickle.dumps({"a": Calls(exec, "open('ran', 'w')")}, 2), r"asks for __builtin__\.exec"),
    "a command by its newer name": (pickle.dumps({"a": Calls(exec, "1")}, 4), r"asks for builtins\.exec"),
    "a name behind a known one": (
        raw(b"\x8c\x0btorch._utils\x8c\x1f_rebuild_tensor_v2.__globals__."[:-1] + b"\x93"),
        "asks for torch|cannot be read",
    ),
    "an attribute of a class": (
        raw(b"X\x05\x00\x00\x00torchX\x0c\x00\x00\x00FloatStorage", b"\x93", b"}b"),
        "changes what it did not make",
    ),
    "a known function, changed": (raw(REBUILD, b"}X\x08\x00\x00\x00functionNsb"), "changes what it did not make"),
    "a filled OrderedDict": (raw(ORDERED, b"]\x85R"), "fills an OrderedDict"),
    "a key that is never hashed": (raw(b"}", DEEP, b"Ns"), "a key is no name"),
    "a step that torch.save never takes": (raw(b"\x8f(", b"K\x01\x90"), "cannot be read as what torch.save writes"),
    "a number in the memo": (raw(b"}r\xff\xff\xff\xff"), "it holds no tensors|no tensor"),
    "a tensor beyond its storage": (
        raw(b"}X\x01\x00\x00\x00a", REBUILD, b"(", STORAGE, b"K\x14K\x05\x85K\x01\x85\x89Nt", b"Rs"),
        "cannot be read",
    ),
    "a tensor of the same number": (
        raw(b"}X\x01\x00\x00\x00a", REBUILD, b"(", STORAGE, b"K\x00J\xff\xff\xff\x7f\x85K\x00\x85\x89Nt", b"Rs"),
        "more numbers than its storage",
    ),
    "a negative stride": (
        raw(b"}X\x01\x00\x00\x00a", REBUILD, b"(", STORAGE, b"K\x05K\x05\x85J\xff\xff\xff\xff\x85\x89Nt", b"Rs"),
        "a shape that none has",
    ),
    "no tensors": (pickle.dumps([1, 2], 2), "no tensors by their names"),
    "a number among tensors": (pickle.dumps({"step": 3}, 2), "step is no tensor"),
}  # fmt: skip


@pytest.mark.parametrize("what", MALICIOUS)
def test_a_pickle_runs_nothing_and_holds_tensors_or_is_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = MALICIOUS[what]
    rewritten(tmp_path / "zip.bin", lambda _: content)
    legacy = b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {}))
    storages = pickle.dumps(["0"], 2) + struct.pack("<Q", 24) + bytes(96)
    (tmp_path / "legacy.bin").write_bytes(legacy + content + storages)
    for name in ("zip.bin", "legacy.bin"):
        with pytest.raises(UserError, match=message):
            read_torch_file(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_pytorch_file_takes_no_more_memory_than_it_has_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}." + b"0" * (1 << 25))
    with pytest.raises(UserError, match="larger than torch"):
        read_torch_file(path)
    # A length that the file does not have: nothing is taken for it.
    path.write_bytes(b"\x80\x02" + b"X\xff\xff\xff\x7f" + b"a." * 10)
    with pytest.raises(UserError, match="cannot be read as what torch"):
        read_torch_file(path)
    rewritten(path, lambda content: content[:-1], "data/0")
    with pytest.raises(UserError, match="cannot be read"):
        read_torch_file(path)


# --- several files, and half precision ---


def in_parts(source: Path, directory: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A copy whose weights are in two files, with their index."""
    copied(source, directory)
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    where = {key: names[number % 2] for number, key in enumerate(tensors)}
    for name in names:
        save_file({key: tensors[key] for key in tensors if where[key] == name}, directory / name)
    index = directory / "model.safetensors.index.json"
    content = {"metadata": {"total_size": 1}, "weight_map": where}
    index.write_text(json.dumps(content), encoding="utf-8")
    return directory, index, content


def test_weights_in_several_files_are_read_together(tmp_path: Path) -> None:
    directory, index, content = in_parts(BERT, tmp_path / "model")
    same_parameters(directory, BERT)
    (directory / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00002\.safetensors: not there, and model\.safetensors\.index"):
        read_model(directory)
    for name in ("../other.safetensors", "/etc/passwd", "a\\b.safetensors", "..", "code.py"):
        index.write_text(json.dumps(content | {"weight_map": {"a": name}}), encoding="utf-8")
        with pytest.raises(UserError, match="the parts of a model are files beside their index"):
            read_model(directory)
    index.write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="has no weight_map"):
        read_model(directory)


def test_weights_in_bfloat16_are_the_upper_halves_of_float32(tmp_path: Path) -> None:
    directory = copied(BERT, tmp_path / "model")
    tensors = load_file(directory / "model.safetensors")
    halves = {key: (value.view(np.uint32) >> 16).astype(np.uint16) for key, value in tensors.items()}
    save_file(halves, directory / "model.safetensors")
    content = (directory / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    for about in header.values():
        about["dtype"] = "BF16"
    written = io.BytesIO()
    text = json.dumps(header).encode()
    written.write(struct.pack("<Q", len(text)) + text + content[8 + size :])
    (directory / "model.safetensors").write_bytes(written.getvalue())
    found, whole = read_model(directory).parameters, read_model(BERT).parameters
    for stage, own in whole.items():
        for name, value in own.items():
            np.testing.assert_allclose(found[stage][name], value, rtol=2**-7)
            assert not (found[stage][name].view(np.uint32) & 0xFFFF).any()


# --- what is beside the parameters ---


def with_tensors(directory: Path, **more: np.ndarray) -> Path:
    tensors = load_file(directory / "model.safetensors") | more
    save_file(tensors, directory / "model.safetensors")
    return directory


ONES = np.ones((2, 2), np.float32)


def test_buffers_and_heads_of_pre_training_are_left_aside(tmp_path: Path) -> None:
    beside = {"bert.embeddings.position_ids": np.arange(64)[None], "cls.predictions.bias": ONES}
    same_parameters(with_tensors(copied(BERT, tmp_path / "model"), **beside), BERT)


@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.0.attention.self.query.lora_A.weight",
        "classifier.lora_A.weight",
        "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight",
        "gate.weight",
    ],
)
def test_what_is_no_part_of_the_model_is_refused_by_name(name: str, tmp_path: Path) -> None:
    directory = with_tensors(copied(BERT, tmp_path / "model"), **{name: ONES})
    with pytest.raises(UserError, match=rf"holds {name}, which is no part of the model"):
        read_model(directory)
    if name == "gate.weight":  # another task's head, which a new one takes the place of
        assert read_pretrained(directory, ("no", "yes")).architecture.labels == 2


def test_an_encoder_by_itself_is_one_where_no_class_is_named(tmp_path: Path) -> None:
    """Old names of norms, too."""
    directory = copied(BERT, tmp_path / "model", architectures=...)
    with pytest.raises(UserError, match="architectures is missing, which says what the model answers"):
        read_model(directory)
    renamed = {"bert.": "", "LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def old(key: str) -> str:
        for new, other in renamed.items():
            key = key.replace(new, other)
        return key

    tensors = {
        old(key): value
        for key, value in load_file(directory / "model.safetensors").items()
        if not key.startswith("classifier")
    }  # fmt: skip
    save_file(tensors, directory / "model.safetensors")
    model = read_model(directory)
    assert model.architecture.answer == "vector"
    whole = read_model(BERT)
    for stage in ("embedding", "encoder.1.attention"):
        for name, value in whole.parameters[stage].items():
            np.testing.assert_array_equal(model.parameters[stage][name], value)
    pretrained = read_pretrained(directory, ("no", "yes"))
    np.testing.assert_array_equal(
        pretrained.parameters["classifier"]["pooler.weight"], whole.parameters["classifier"]["pooler.weight"]
    )


def test_labels_without_a_name_have_their_number(tmp_path: Path) -> None:
    assert read_model(copied(BERT, tmp_path / "a", id2label={"0": "yes", "2": "no"})).architecture.label_names == (
        "yes", "LABEL_1", "no",
    )  # fmt: skip
    for number, labels in enumerate(({"1": "a", "2": "b", "3": "c"}, {"0": "a"} | {"5": "f"})):
        with pytest.raises(
            UserError, match=r"classifier\.weight gives shape \[32, 3\], config\.json asks for .*id2label"
        ):
            read_model(copied(BERT, tmp_path / f"b{number}", id2label=labels))
