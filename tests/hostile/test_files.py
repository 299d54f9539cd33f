"""Models from strangers: files that ask for memory, hide in a terminal's escapes, or hold what no model has."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from freediv.cluster.configuration import OwnerConfig
from freediv.errors import UserError, one_line
from freediv.model import Architecture, read_model, read_pretrained, read_tokenizer
from freediv.owners.model_owner import load_offer, prepare_offer
from pydantic import ValidationError
from safetensors.numpy import load_file, save_file
from tiny import make_tiny_model

Damage = Callable[[Path], None]
ROOM = 3 << 30
"""Bytes of memory, beyond what the libraries take, with which the largest of these files would not do by far."""


def with_tensors(**tensors: np.ndarray | None) -> Damage:
    def damage(model: Path) -> None:
        known = load_file(model / "model.safetensors") | {k.replace("__", "."): v for k, v in tensors.items()}
        save_file({k: v for k, v in known.items() if v is not None}, model / "model.safetensors")

    return damage


def with_config(**fields: Any) -> Damage:
    def damage(model: Path) -> None:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | fields))

    return damage


def sparse(model: Path) -> None:
    """A terabyte of zeros that takes no room on the disk."""
    head = json.dumps({"classifier.bias": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    os.truncate(model / "model.safetensors", 8 + len(head) + (1 << 40))


def sparse_config(model: Path) -> None:
    os.truncate(model / "config.json", 1 << 40)


def huge_pooler(model: Path) -> None:
    with_config(hidden_size=1 << 14, num_attention_heads=1, freediv={"functions": [{}] * 2})(model)


@contextmanager
def limited_memory() -> Iterator[None]:
    """So much address space more than is in use."""
    used = psutil.Process().memory_info().vms
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


MILLION = np.zeros(1_000_000, np.int8)
FILES: dict[str, tuple[Damage, str]] = {
    "a scale as long as its vector": (
        with_tensors(x=MILLION, x__scale=np.ones(1_000_000, np.float32)), "x.scale is not a number for each row of x",
    ),
    "a scale for one row of many": (
        with_tensors(x=MILLION.reshape(1000, 1000), x__scale=np.ones(1, np.float32)), "x.scale is not a number",
    ),
    "a scalar scale": (
        with_tensors(x=np.zeros((2, 2), np.int8), x__scale=np.array(1, np.float32)), "x.scale is not a number",
    ),
    "a terabyte of zeros": (sparse, "far more than the"),
    "a terabyte after the configuration": (sparse_config, "more than 67,108,864 bytes"),
    "a pooler that is not there, of a gigabyte": (huge_pooler, "config.json asks for"),
    "a label that is a list": (with_config(id2label={"0": ["a"] * 1000, "1": "b"}), "a name is no text"),
    "a million labels": (with_config(id2label={str(i): str(i) for i in range(1_000_000)}), "label_names"),
    "layers without end": (with_config(num_hidden_layers=1 << 62, freediv={}), "layers"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_refused_before_it_takes_memory(tmp_path: Path, name: str) -> None:
    """Files of a few MB that would ask for up to 149 GiB: shapes and sizes are compared first."""
    damage, why = FILES[name]
    make_tiny_model(tmp_path)
    damage(tmp_path)
    for read in (read_model, lambda path: read_pretrained(path, ("a", "b"))):
        if read is not read_model and "label" in name:
            continue  # it takes the data's
        with limited_memory(), pytest.raises(UserError, match=why) as refused:
            read(tmp_path)
        assert str(refused.value).isprintable()


def test_a_tokenizer_of_a_terabyte_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    """A sparse tokenizer.json: no more of it is read than a tokenizer has."""
    make_tiny_model(tmp_path)
    os.truncate(tmp_path / "tokenizer.json", 1 << 40)
    for read in (read_tokenizer, prepare_offer):
        with limited_memory(), pytest.raises(UserError, match=r"tokenizer\.json: .*more than 67,108,864 bytes"):
            read(tmp_path)


NAMES = {
    "an escape": ("\x1b[2J\x1b]0;owned\x07", "b"),
    "a new line": ("a\n0: error", "b"),
    "the other way round": ("a\u202eb", "b"),
    "nothing to see": ("\u200b", "b"),
    "empty": ("", "b"),
    "blank": ("  ", "b"),
    "a book": ("a" * 201, "b"),
    "twice the same": ("a", "a"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_label_names_are_printable_distinct_and_short(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Escapes in a label's name would reach each data owner's terminal: the model is refused, by data owners too."""
    known = read_model(make_tiny_model(tmp_path)).architecture.model_dump()
    with pytest.raises(ValidationError, match="label_names"):  # what a bundle is read with
        Architecture.model_validate(known | {"label_names": names})
    with_config(id2label=dict(enumerate(names)))(tmp_path)
    with pytest.raises(UserError, match=r"config\.json: .*label_names") as refused:
        read_model(tmp_path)
    assert str(refused.value).isprintable()
    assert Architecture.model_validate(known | {"label_names": ("négatif", "très bien 🙂", "否定")}).labels == 3


@pytest.mark.parametrize("factor", [1e20, 1e30, 1e38])
def test_weights_that_the_ring_has_no_room_for_are_not_shared(tmp_path: Path, factor: float) -> None:
    """Weights of 1e30, also where folding makes them infinite: one line that names the parameter, before any upload."""
    make_tiny_model(tmp_path)
    name = "bert.encoder.layer.1.output.dense.weight"
    with_tensors(**{name: load_file(tmp_path / "model.safetensors")[name] * np.float32(factor)})(tmp_path)
    parties = tuple({"rank": rank, "host": "127.0.0.1", "grpc_port": 1} for rank in range(3))
    owner = OwnerConfig(cluster="lab", role="model-owner", parties=parties)
    with pytest.raises(UserError, match=r"encoder\.1\.feed_forward: .* beyond 3\.36e\+07, which the ring has no room"):
        asyncio.run(load_offer(owner, prepare_offer(tmp_path)))


def test_an_error_quotes_nothing_that_a_terminal_obeys() -> None:
    """Whoever says it: control characters are shown, line breaks become spaces, and a book is cut."""
    shown = str(UserError("model_type is '\x1b[31m\r\nx\u2028y\x9b2J'" + "a" * 10_000))
    assert shown.isprintable() and len(shown) == 4000
    assert shown.startswith(r"model_type is '\x1b[31m  x y\x9b2J'aaa")
    assert one_line("négatif 中 🙂") == "négatif 中 🙂"
