"""Reading SPU's own account of its communication."""

from __future__ import annotations

import contextlib

import pytest
from freediv.mpc.records import StageRecord, Traffic
from freediv.mpc.spu.profile import Operation, read_profiles
from hypothesis import given
from hypothesis import strategies as st

AT = "2026-01-02 03:04:05.678 [info] [api.cc:printProfilingData:163]"
SECTION = [
    f"{AT} [Profiling] SPU execution encoder.0.attention completed, input processing took 1.2e-06s, execution took "
    "0.25s, output processing took 3e-06s, total time 0.250004s.",
    f"{AT} HLO profiling: total time 0.24",
    f"{AT} - pphlo.dot, executed 2 times, duration 0.2s, send bytes 700 recv bytes 800, send actions 5, recv actions 6",
    f"{AT} - pphlo.add, executed 3 times, duration 4e-05s, send bytes 0 recv bytes 0, send actions 0, recv actions 0",
    f"{AT} HAL profiling: total time 0.24",
    f"{AT} - i_mmul, executed 2 times, duration 0.2s, send bytes 700 recv bytes 800, send actions 5, recv actions 6",
    f"{AT} Link details: total send bytes 700, recv bytes 800, send actions 5, recv actions 6",
]


def test_a_section_is_read_and_nested_views_are_not_added() -> None:
    (profile,) = read_profiles("\n".join(SECTION))
    assert profile.program == "encoder.0.attention"
    assert profile.seconds == 0.250004
    assert profile.traffic == Traffic(700, 800, 5, 6)
    assert profile.operations == (
        Operation("pphlo.dot", 2, 0.2, Traffic(700, 800, 5, 6)),
        Operation("pphlo.add", 3, 4e-05, Traffic()),
    )


def test_other_lines_and_other_sections_do_not_matter() -> None:
    noise = "2026-01-02 03:04:05.678 [warning] [channel.cc:OnNormalMessage:1] Link details: total send bytes 1"
    second = [line.replace("encoder.0.attention", "classifier").replace("700", "7") for line in SECTION]
    lines = [noise, *(x for line in [*SECTION, *second] for x in (line, noise, ""))]
    profiles = read_profiles("\n".join(lines))
    assert [(p.program, p.traffic.sent_bytes) for p in profiles] == [("encoder.0.attention", 700), ("classifier", 7)]


@pytest.mark.parametrize("lines", [SECTION[:-1], SECTION[1:], [SECTION[0], *SECTION]])
def test_a_torn_section_is_an_error(lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"does not (begin|end)"):
        read_profiles("\n".join(lines))


@given(st.lists(st.one_of(st.sampled_from(SECTION), st.text(max_size=200), st.builds(lambda s: AT + s, st.text()))))
def test_whatever_the_log_holds_it_is_read_or_refused(lines: list[str]) -> None:
    with contextlib.suppress(ValueError):
        read_profiles("\n".join(lines))


@given(st.data())
def test_a_damaged_line_is_refused_or_passed_over(data: st.DataObject) -> None:
    text = "\n".join(SECTION)
    at = data.draw(st.integers(0, len(text) - 1))
    with contextlib.suppress(ValueError):
        read_profiles(text[:at] + data.draw(st.text(max_size=5)) + text[at + data.draw(st.integers(0, 5)) :])


def test_a_record_survives_json_and_junk_does_not() -> None:
    record = StageRecord("encoder.3.feed_forward", 3, "feed_forward", 0.5, 1, 2, 3, 4)
    assert StageRecord.from_dict(record.to_dict()) == record
    assert record.traffic == Traffic(1, 2, 3, 4)
    good = record.to_dict()
    junk = [
        {},
        {**good, "more": 1},
        {**good, "sent_bytes": -1},
        {**good, "sent_bytes": "1"},
        {**good, "sent_bytes": True},
        {**good, "seconds": None},
        {**good, "layer": 1.5},
        {**good, "block": "hidden"},
        {**good, "stage": None},
    ]
    for values in junk:
        with pytest.raises(ValueError, match="stage record"):
            StageRecord.from_dict(values)
