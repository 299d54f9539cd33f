"""What a data owner makes of the joined answer."""

from __future__ import annotations

import numpy as np
import pytest
from freediv.model import Architecture
from freediv.owners.data_owner import _predictions
from freediv.wire.channels import NotAnswered
from tiny import architecture


def limited(row_limits: bool) -> Architecture:
    return architecture(
        layers=1, attention_norm="layernorm-constant" if row_limits else "layernorm", row_limits=row_limits
    )


def test_a_text_beyond_a_limit_has_one_answer_and_no_other_number_is_one() -> None:
    model = limited(True)
    found = _predictions(np.array([1, 2, 0]), model, "label")
    assert [(one.value, one.name) for one in found] == [(1, "positive"), (None, "no answer"), (0, "negative")]
    found = _predictions(np.array([[0.5, -0.5, 1.0], [0.0, 0.0, 0.0]]), model, "logits")
    assert [(one.value, one.logits) for one in found] == [(0, (0.5, -0.5)), (None, None)]
    for label in (-1, 3, 4, 2**31 - 1):
        with pytest.raises(NotAnswered, match="no label that the model has"):
            _predictions(np.array([label]), model, "label")


def test_without_limits_every_text_has_a_label() -> None:
    with pytest.raises(NotAnswered, match="no label that the model has"):
        _predictions(np.array([2]), limited(False), "label")
