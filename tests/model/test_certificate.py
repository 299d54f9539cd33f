"""What a model was measured for, and in which clusters it may run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from freediv.errors import UserError
from freediv.model import Certificate, read_model
from tiny import make_tiny_model

CLUSTER: dict[str, Any] = {"field": "FM64", "fraction_bits": 18, "length": 128, "row_limits": False}


def misfit(certificate: Certificate, **changes: Any) -> str:
    return certificate.misfit(**CLUSTER | changes) or ""


@pytest.mark.parametrize(
    ("fraction_bits", "left"), [(16, 7.2), (18, 7.2), (19, 5.2), (21, 1.2), (22, -0.8), (24, -4.8)]
)
def test_a_fraction_bit_more_takes_two_bits_of_headroom(fraction_bits: int, left: float) -> None:
    """The shipped model's 7.2 bits: with 21 its answers are right, with 22 they were off by 1,730."""
    certificate = Certificate(headroom_bits=7.2)
    assert certificate.headroom_at(fraction_bits) == pytest.approx(left)
    said = misfit(certificate, fraction_bits=fraction_bits)
    assert bool(said) == (left < 0)
    if left < 0:
        assert f"is {left:.1f} with the cluster's {fraction_bits}" in said and "set fraction_bits: 18" in said


def test_what_was_not_measured_is_refused() -> None:
    measured = Certificate(headroom_bits=7.2, length=64)
    assert misfit(measured, length=64) == ""
    assert "up to 64 word pieces, the cluster serves 128" in misfit(measured)
    assert "too coarse" in misfit(measured, fraction_bits=15, length=64)
    assert "in FM64, the cluster computes in FM128" in misfit(measured, field="FM128", length=64)
    assert "nobody measured" in misfit(Certificate(), length=64)
    assert "left the ring" in misfit(Certificate(headroom_bits=-3))


def test_limits_are_proven_for_the_bits_that_they_were_chosen_for() -> None:
    """However much headroom was seen: a row at its limit goes to the edge of what the proof allows."""
    measured = Certificate(headroom_bits=20)
    assert misfit(measured, row_limits=True) == misfit(measured, row_limits=True, fraction_bits=16) == ""
    assert "limits of its rows are proven for 18" in misfit(measured, row_limits=True, fraction_bits=19)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({}, Certificate()),
        ({"headroom_bits": 7.2}, Certificate(headroom_bits=7.2, fraction_bits=18, length=128)),
        ({"certificate": {"headroom_bits": 3, "length": 32}}, Certificate(headroom_bits=3, length=32)),
    ],
    ids=["none", "of before", "of now"],
)
def test_a_certificate_of_before_counts_as_one_for_18_fraction_bits(
    tmp_path: Path, written: dict[str, Any], read: Certificate
) -> None:
    config = json.loads((make_tiny_model(tmp_path) / "config.json").read_text())
    del config["freediv"]["certificate"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"freediv": config["freediv"] | written}))
    assert read_model(tmp_path).certificate == read


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e300", "true", '"much"', "[]"])
@pytest.mark.parametrize("where", ['{"headroom_bits": %s}', '{"certificate": {"headroom_bits": %s}}'])
def test_headroom_is_a_number_that_a_ring_can_have(tmp_path: Path, number: str, where: str) -> None:
    config = json.loads((make_tiny_model(tmp_path) / "config.json").read_text())
    del config["freediv"]["certificate"]
    config["freediv"] |= json.loads(where % number)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json: .*headroom_bits"):
        read_model(tmp_path)
