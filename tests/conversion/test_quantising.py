"""Classifiers in integers: the same encoder in floating point, the choice by signal to noise, training, what is written
and who refuses it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from freediv.conversion.quantisation import METHODS
from freediv.conversion.quantisation.arithmetic import Exact, Integers
from freediv.conversion.quantisation.choosing import choose_methods, everywhere
from freediv.conversion.quantisation.encoder import logits, require_known, slots
from freediv.conversion.quantisation.ranges import batches_of, calibrate_ranges
from freediv.conversion.quantisation.wide import wide_numbers
from freediv.errors import UserError
from freediv.model import LayerFunctions, Model, forward, initial_parameters, read_model

from .conftest import freediv
from .test_images import CLASSES, FAMILIES, by_class, pretrained

__all__ = ["pretrained"]  # a fixture


def read_by(model: Model, count: int) -> list[np.ndarray]:
    """What a model reads, at random."""
    rng, a = np.random.default_rng(0), model.architecture
    if a.patches is not None:
        rows = rng.uniform(-1, 1, (count, a.positions, a.embedding_size)).astype(np.float32)
        rows[:, : a.patches.tokens] = 0
        return list(rows)
    return [rng.integers(5, a.vocabulary, rng.integers(4, a.positions)).astype(np.int32) for _ in range(count)]


def model_of(name: str) -> Model:
    if name != "bert":
        return read_model(FAMILIES / f"{name}-classifier")
    plain = tiny.architecture(functions=(LayerFunctions(),) * 2)
    return Model(plain, initial_parameters(plain, 1, 0.2))


@pytest.mark.parametrize("name", ["vit", "deit", "bert"])
def test_in_floating_point_it_is_the_model_and_in_many_bits_near_it(name: str) -> None:
    model = model_of(name)
    require_known(model.architecture, name)
    with wide_numbers():
        batches = batches_of(model, read_by(model, 12), 0)
        inputs = batches[0].inputs
        wanted = np.asarray(forward(model.architecture, model.parameters, inputs))
        exact = logits(model.architecture, model.parameters, inputs, Exact())
        np.testing.assert_allclose(exact, wanted, atol=1e-5)
        ranges = calibrate_ranges(model, batches)
        methods = everywhere(model.architecture, "i-bert")
        errors = []
        for bits in (16, 8, 6):
            found = logits(model.architecture, model.parameters, inputs, Integers(bits, methods, ranges))
            errors.append(float(np.abs(np.asarray(found) - wanted).mean() / np.abs(wanted).mean()))
    assert errors[0] < 0.15  # what polynomials for exp and erf leave
    assert errors[0] < errors[1] < errors[2]


def test_the_choice_is_what_loses_least_between_what_a_slot_reads_and_leaves() -> None:
    model = model_of("vit")
    one = {"layers": 1, "functions": model.architecture.functions[:1]}
    model = replace(model, architecture=model.architecture.model_copy(update=one))
    with wide_numbers():
        batches = batches_of(model, read_by(model, 4), 0)
        ranges = calibrate_ranges(model, batches)
        chosen = choose_methods(model, batches, ranges, 6)
        assert [one.slot for one in chosen] == [slot for slot, _ in slots(model.architecture)]
        assert all(one.lost[one.method] == min(one.lost.values()) for one in chosen)
        assert {frozenset(one.lost) for one in chosen} == {frozenset(METHODS), frozenset({"i-bert", "i-vit"})}
        clean: dict[str, np.ndarray] = {}
        noisy: dict[str, np.ndarray] = {}
        (batch,) = batches
        integers = Integers(6, everywhere(model.architecture, "i-vit"), ranges, noisy.__setitem__)
        for arithmetic in (Exact(clean.__setitem__), integers):
            logits(model.architecture, model.parameters, batch.inputs, arithmetic)
    slot, real = chosen[1].slot, batch.weight > 0

    def decibels(name: str) -> float:
        x, y = (np.asarray(of[name], np.float64)[real] for of in (clean, noisy))
        ratio = np.linalg.norm(x, axis=-1) / np.linalg.norm(x - y, axis=-1)
        return 20 * np.log10(ratio.mean())

    assert slot.endswith("/softmax")
    assert chosen[1].lost["i-vit"] == pytest.approx(decibels(f"{slot}/in") - decibels(f"{slot}/out"), abs=0.01)


def test_a_model_is_trained_in_integers_and_only_evaluated_afterwards(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, dev, out = by_class(tmp_path / "train", 100, 1), by_class(tmp_path / "dev", 40, 2), tmp_path / "quantised"
    for folder in (train, dev):
        for name, label in zip(CLASSES, read_model(pretrained).architecture.label_names, strict=True):
            (folder / name).rename(folder / label)
    data = ("--data", train, "--dev", dev, "--tokens-per-batch", 85)
    rates = ("--epochs", 10, "--learning-rate", 3e-3)
    report = tmp_path / "report.json"
    given = (*data, *rates, "--bits", 6, "--method", "i-vit", "-o", out, "--json", report)
    assert freediv(monkeypatch, "quantize", pretrained, *given) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    _, found = json.loads(report.read_text(encoding="utf-8"))
    assert found["before"]["accuracy"] < 0.6 < found["after"][0]["accuracy"]  # three classes

    assert freediv(monkeypatch, "evaluate", out, "--data", dev, "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == found["after"][0]["accuracy"]
    assert freediv(monkeypatch, "evaluate", out, "--data", dev, "--against", pretrained) == 2
    assert "evaluated in plaintext" in capsys.readouterr().err
    refused = {"predict": ("--image", next(dev.rglob("*.png"))), "headroom": ("--data", dev), "quantize": data}
    for command, options in refused.items():
        assert freediv(monkeypatch, command, out, *options) == 2
        assert "is quantised with integer functions, for `freediv evaluate` alone" in capsys.readouterr().err
    (out / "quantisation.json").write_text("{}", encoding="utf-8")
    assert freediv(monkeypatch, "evaluate", out, "--data", dev) == 2
    assert "damaged" in capsys.readouterr().err


def test_other_functions_are_refused_by_name() -> None:
    model = model_of("bert")
    functions = (LayerFunctions(), LayerFunctions(activation="relu"))
    student = replace(model, architecture=model.architecture.model_copy(update={"functions": functions}))
    with pytest.raises(UserError, match="x: has layers that are not softmax, gelu and layernorm"):
        require_known(student.architecture, "x")
