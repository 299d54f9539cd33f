"""`freediv headroom`: what a model's values reach on texts from anywhere."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.measures.comparison import cut_texts
from freediv.conversion.measures.headroom import measure_headroom
from freediv.model import encode, read_model, write_model

from .conftest import Task, freediv, make_sentences, make_tokenizer


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "long.txt"
    path.write_text("\n".join(" ".join(make_sentences(8, seed=seed)[0]) for seed in range(12)) + "\n")
    return path


def test_texts_are_cut_to_the_words_that_the_model_reads() -> None:
    tokenizer = make_tokenizer()
    texts = ["the film was delightful and warm", ("the story was", "a b c d e f g h"), "film"]
    for text, cut in zip(texts, cut_texts(tokenizer, texts, 8), strict=True):
        assert (
            encode(tokenizer, [cut], 99, tokenizer.get_vocab_size())[0].tolist()
            == encode(tokenizer, [text], 8, tokenizer.get_vocab_size())[0].tolist()
        )


def test_a_model_in_range_is_shown_stage_by_stage_with_its_agreement(
    teacher: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--data", texts, "--length", "16", "--length", "40", "--against", teacher)
    assert freediv(monkeypatch, "headroom", teacher, *arguments, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["length"], one["count"], one["agreement"]["accuracy"]) for one in found] == [
        (16, 12, 1),
        (40, 12, 1),
    ]  # its own length is its longest bucket
    for one in found:
        bits = {name: stage["bits"] for name, stage in one["stages"].items()}
        assert bits["encoder.0.attention"] == pytest.approx(
            25 - math.log2(one["stages"]["encoder.0.attention"]["largest"])
        )
        assert one["headroom_bits"] == min(bits.values()) > 0
    assert measure_headroom(read_model(teacher), [np.zeros(48, np.int32)]).bits > 0  # longer than any bucket


@pytest.mark.parametrize("factor", [1e6, 1e38])
def test_a_value_beyond_the_ring_is_one_line_and_exit_status_2(
    task: Task,
    teacher: Path,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    factor: float,
) -> None:
    """Also where it is beyond floating point, and what follows is not a number."""
    model = read_model(teacher)
    own = model.parameters["encoder.0.feed_forward"]
    large = {**own, "output.weight": own["output.weight"] * np.float32(factor)}
    write_model(replace(model, parameters={**model.parameters, "encoder.0.feed_forward": large}), tmp_path / "large")
    assert freediv(monkeypatch, "headroom", tmp_path / "large", "--data", texts, "--length", "16") == 2
    shown = capsys.readouterr()
    assert "12 texts cut at 16 pieces" in shown.out
    assert shown.err.startswith("error: encoder.0.feed_forward reaches") and "2^25" in shown.err
