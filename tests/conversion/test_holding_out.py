"""Rows held out: with all their parts, and in a proportion that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from freediv.conversion.texts.examples import Examples
from freediv.conversion.texts.holding_out import containing_rows, hold_out, whole_rows
from freediv.model import Text
from hypothesis import given
from hypothesis import strategies as st


def examples(*texts: Text) -> Examples:
    return Examples(texts, np.arange(len(texts)), (), Path(), "")


def test_a_phrase_goes_with_the_longest_row_that_has_it() -> None:
    rows = examples("a fine film", "fine film", "not a  Fine film", "a fine", "fine filming", "film", "not a fine film")
    assert containing_rows(rows).tolist() == [2, 2, 2, 2, 4, 2, 2]


def test_the_texts_of_a_pair_are_not_one_text() -> None:
    rows = examples(("a b", "c"), ("a", "b c"), ("b", "c"), ("B", "c"))
    assert containing_rows(rows).tolist() == [0, 1, 0, 0]


words = st.lists(st.sampled_from("abc"), min_size=1, max_size=5).map(" ".join)


@given(st.lists(words, min_size=1, max_size=30))
def test_every_row_is_part_of_its_group(texts: list[str]) -> None:
    group = containing_rows(examples(*texts))
    for row, text in enumerate(texts):
        assert f" {text} " in f" {texts[group[row]]} "
        holding = [other for other in texts if f" {text} " in f" {other} "]
        assert len(texts[group[row]]) == max(map(len, holding))


@given(st.lists(words, min_size=1, max_size=60), st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_group_stays_together_and_no_row_is_lost(texts: list[str], fraction: float, other: float) -> None:
    rows = examples(*texts)
    rest, out = hold_out(rows, fraction)
    assert rest.labels is not None and out.labels is not None
    assert sorted([*rest.labels, *out.labels]) == list(range(len(texts)))
    group = containing_rows(rows)
    assert not set(group[rest.labels]) & set(group[out.labels])
    assert len(out) >= round(fraction * len(texts)) or len(rest) == 0
    smaller, larger = sorted((out.labels.tolist(), _labels(hold_out(rows, other)[1])), key=len)
    assert set(smaller) <= set(larger)


def test_unrelated_rows_are_held_out_in_the_number_asked_for() -> None:
    rest, out = hold_out(examples(*(f"row{number}" for number in range(1000))), 0.02)
    assert (len(rest), len(out)) == (980, 20)
    again = hold_out(examples(*(f"row{number}" for number in range(1000))), 0.02)[1]
    assert out.texts == again.texts != rest.texts[:20]
    assert len(hold_out(rest, 0.0)[1]) == 0


def test_whole_rows_are_those_that_are_part_of_no_other() -> None:
    rows = examples("fine film", "a fine film", "a plot", "A plot", "a", "no plot")
    assert _labels(whole_rows(rows)) == [1, 2, 5]


def _labels(rows: Examples) -> list[int]:
    assert rows.labels is not None
    return rows.labels.tolist()
