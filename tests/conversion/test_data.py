"""Reading labelled sentences."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.data import read_examples, split_off
from freediv.errors import UserError
from hypothesis import given
from hypothesis import strategies as st

ROWS = [('it said "no", twice', 0), ("a fine, quiet film", 1), ("comma , tab-free", 1)]


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def tsv(path: Path) -> Path:
    return write(path, "sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))


def test_tsv_csv_and_jsonl_with_the_same_rows_read_alike(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sentence", "label"), *ROWS])
    lines = (json.dumps({"label": label, "sentence": text}) for text, label in ROWS)
    paths = [tsv(tmp_path / "a.tsv"), tmp_path / "a.csv", write(tmp_path / "a.jsonl", "\n".join(lines))]
    for path in paths:
        examples = read_examples(path)
        assert examples.texts == tuple(text for text, _ in ROWS)
        assert examples.labels is not None
        assert examples.labels.tolist() == [label for _, label in ROWS]
        assert examples.label_names == ("0", "1")


def test_labels_may_be_names_and_columns_may_have_any_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "mood,text\nsad,it rains\nglad,it shines\n")
    found = read_examples(path, text_columns=["text"], label_column="mood")
    assert found.label_names == ("glad", "sad")
    assert found.labels is not None and found.labels.tolist() == [1, 0]
    ordered = read_examples(path, text_columns=["text"], label_column="mood", label_names=("sad", "glad"))
    assert ordered.labels is not None and ordered.labels.tolist() == [0, 1]


def test_labels_are_optional_where_they_are_not_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"sentence": "no label here"}\n')
    assert read_examples(path, labelled=None).labels is None
    with pytest.raises(UserError, match="line 1: there is no column 'label'"):
        read_examples(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "empty; its first line must name the columns"),
        ("a.tsv", "sentence\tlabel\n", "has no rows"),
        ("a.tsv", "sentence\tlabel\nfine\t1\nbroken\n", r"a\.tsv, line 3: 1 columns, the header has 2"),
        ("a.tsv", "text\tlabel\nfine\t1\n", "no column 'sentence' .there are: label, text"),
        ("a.tsv", "sentence\tlabel\nfine\t1\n  \t0\n", "line 3: the text in column 'sentence' is empty"),
        ("a.csv", 'sentence,label\n"unclosed,1\n', r"a\.csv, line \d: unexpected end of data"),
        ("a.jsonl", '{"sentence": "x", "label": 1}\n{oops\n', "line 2: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: must be a JSON object"),
        ("a.jsonl", '{"sentence": "x", "label": [1]}\n', "line 1: column 'label' must hold text or a whole number"),
        ("a.txt", "anything", "end in .tsv, .csv or .jsonl"),
    ],
)
def test_bad_files_are_refused_with_what_and_where(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_examples(write(tmp_path / name, content), label_names=("no", "yes"))


def test_missing_files_other_encodings_and_unknown_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.tsv: no such file"):
        read_examples(tmp_path / "nowhere.tsv")
    (tmp_path / "latin.tsv").write_bytes("sentence\tlabel\ncafé\t1\n".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_examples(tmp_path / "latin.tsv")
    with pytest.raises(UserError, match="line 3: label '1' is none of yes"):
        read_examples(tsv(tmp_path / "a.tsv"), label_names=("yes",))


@given(count=st.integers(1, 200), fraction=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_a_split_shares_out_every_row_once(count: int, fraction: float, seed: int) -> None:
    from freediv.conversion.data import Examples

    texts = tuple(str(row) for row in range(count))
    rest, split = split_off(Examples(texts, np.arange(count), (), Path(), ""), fraction, seed)
    assert sorted([*rest.texts, *split.texts], key=int) == list(texts)
    assert len(split) == round(fraction * count)
