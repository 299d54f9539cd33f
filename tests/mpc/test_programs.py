"""Stages as programs: alike wherever they are compiled, one for all layers, free of weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from freediv.model import Architecture
from freediv.mpc.engine import compile_stage
from freediv.mpc.spu.programs import Program, compile_program, secure_stages

from .parties import architecture

COMPILE = """
import sys
from freediv.mpc.engine import compile_stage
from freediv.mpc.spu.programs import secure_stages
from freediv.model import Architecture
model = Architecture.model_validate_json(sys.stdin.read())
for stage in secure_stages(model, "label"):
    print(stage.name, compile_stage(model, stage, 2, 16).digest)
"""


def _programs(model: Architecture, output: Any = "label", batch: int = 2, length: int = 16) -> dict[str, Program]:
    return {s.name: compile_stage(model, s, batch, length) for s in secure_stages(model, output)}


def _digests(model: Architecture, **shape: Any) -> dict[str, str]:
    return {name: program.digest for name, program in _programs(model, **shape).items()}


def test_another_process_compiles_the_same_programs() -> None:
    model = architecture()
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], input=model.model_dump_json(), capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"}, cwd=Path("/"),
    )  # fmt: skip
    assert dict(line.split() for line in done.stdout.splitlines()) == _digests(model)


def test_all_layers_share_their_programs_but_the_last_which_leaves_one_row() -> None:
    digests = _digests(architecture(layers=4))
    for block in ("attention", "feed_forward"):
        assert len({digests[f"encoder.{layer}.{block}"] for layer in range(3)}) == 1
    assert len(set(digests.values())) == 6  # embedding, attention and feed-forward, those of the last layer, classifier
    assert len(set(_digests(architecture(layers=4, pooling="mean")).values())) == 4


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"vocabulary": 41}, {"embedding"}),
        ({"heads": 8}, {"encoder.0.attention"}),
        ({"intermediate": 63}, {"encoder.0.feed_forward"}),
        ({"attention": "2quad"}, {"encoder.0.attention"}),
        ({"activation": "relu"}, {"encoder.0.feed_forward"}),
        ({"pooler": "none"}, {"classifier"}),
        ({"label_names": ("a", "b", "c")}, {"classifier"}),
        ({"label_names": ("x", "y")}, set()),
    ],
)
def test_a_digest_tells_architectures_apart(changes: dict[str, Any], changed: set[str]) -> None:
    before, after = _digests(architecture(layers=1)), _digests(architecture(layers=1, **changes))
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_digest_tells_shapes_and_outputs_apart() -> None:
    model = architecture(layers=1)
    plain = _digests(model)
    assert all(plain[name] != digest for name, digest in _digests(model, batch=3).items())
    assert all(
        plain[name] != digest for name, digest in _digests(model, output="logits").items() if name == "classifier"
    )


def test_a_row_is_divided_once() -> None:
    """SPU's denominator option: x / sum becomes x times one reciprocal a row."""
    program = compile_program(lambda x: x / jnp.sum(x, axis=-1, keepdims=True), [(6, 40)]).code.decode()
    assert "pphlo.divide" not in program
    (reciprocal,) = [line for line in program.splitlines() if "pphlo.reciprocal" in line]
    assert "40" not in reciprocal


def test_programs_hold_no_large_constant() -> None:
    """Weights are inputs: a program's size does not depend on the model's."""
    small, large = (
        _programs(architecture(layers=1)),
        _programs(architecture(layers=1, embedding_size=32, hidden=128, intermediate=512)),
    )
    for name in small:
        assert abs(len(small[name].code) - len(large[name].code)) < 0.2 * len(small[name].code)
