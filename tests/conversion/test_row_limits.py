"""Limits as wide as the weights allow a proof, and no narrower than the texts that a model is used to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from freediv.conversion.measures.bounds import stage_bounds, within_the_ring
from freediv.conversion.measures.headroom import measure_headroom
from freediv.conversion.measures.predictions import logits_of
from freediv.conversion.student.row_limits import with_row_limits
from freediv.model import Model
from freediv.model.answers import LABEL

from .test_bounds import model_of, random_texts

TEXTS = random_texts(300)


def rootless(scale: float = 0.3) -> Model:
    model = model_of(attention_norm="layernorm-constant")
    own = {
        name: {
            key: value * np.float32(scale if key.endswith("weight") and "norm" not in key else 1)
            for key, value in one.items()
        }
        for name, one in model.parameters.items()
    }
    return replace(model, parameters=own)


def test_within_limits_no_text_leaves_the_ring_and_beyond_them_none_gets_an_answer() -> None:
    model = rootless()
    limited = with_row_limits(model, TEXTS[:100])
    bounds, seen = stage_bounds(limited), measure_headroom(limited, TEXTS)
    assert seen.without_answer <= 3 and seen.count == len(TEXTS)
    assert all(seen.largest[stage] <= bound and within_the_ring(bound) for stage, bound in bounds.items())
    limits = limited.parameters["classifier"]["limits"]
    classifier = limited.parameters["classifier"] | {"limits": limits / 1e4}
    tight = replace(limited, parameters=limited.parameters | {"classifier": classifier})
    silent = measure_headroom(tight, TEXTS).without_answer
    assert silent == np.sum(~LABEL.answered(LABEL.plain(tight.architecture, logits_of(tight, TEXTS)))) > 0


def test_limits_that_nothing_is_proven_for_are_a_little_wider_than_usual(capsys: pytest.CaptureFixture[str]) -> None:
    model = rootless()
    name = "encoder.1.feed_forward"
    large = model.parameters[name] | {"output.weight": model.parameters[name]["output.weight"] * np.float32(1e7)}
    limited = with_row_limits(replace(model, parameters=model.parameters | {name: large}), TEXTS[:100])
    assert "it is not proven" in capsys.readouterr().err
    assert measure_headroom(limited, TEXTS[:100]).without_answer == 0


def test_a_model_with_all_its_roots_stays_as_it_is() -> None:
    model = model_of()
    assert with_row_limits(model, TEXTS[:10]) is model
