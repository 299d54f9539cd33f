"""Reading labelled sentences."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.texts.examples import read_examples, read_texts, split_off
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
        ("a.csv", 'sentence,label\n"unclosed,1\n', r"a\.csv, line \d: the file ends within a cell"),
        ("a.jsonl", '{"sentence": "x", "label": 1}\n{oops\n', "line 2: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: must be a JSON object"),
        ("a.jsonl", '{"sentence": "x", "label": [1]}\n', "line 1: column 'label' must hold text or a whole number"),
        ("a.txt", "anything", "end in .tsv, .csv or .jsonl"),
        ("a.tsv", "sentence\tlabel\tlabel\nfine\t1\t0\n", r"line 1: two columns are called 'label'; rename one"),
        ("a.csv", "sentence,sentence,label\nfine,good,0\n", r"line 1: two columns are called 'sentence'"),
        ("a.jsonl", '{"sentence": "x", "label": 1, "label": 0}\n', "line 1: not JSON .one name stands there twice"),
        ("a.tsv", "sentence\tlabel\nfine\tyes\nsentence\tlabel\n", "line 3: the header once more"),
        ("a.csv", 'sentence,label\nfine,yes\n"open,no\nx,no\n', r"a\.csv, line 3: .*is a quote not closed there"),
        ("a.csv", "sentence,label\nfine\rgood,yes\n", r"a\.csv, line 2: a .r within a cell; put the cell in quotes"),
        ("a.csv", "\nsentence,label\nfine,yes\n", "line 1: is blank; it must name the columns"),
        ("a.csv", f"sentence,label\n{'x' * 200_000},yes\n", "line 2: a cell of more than 131,072 characters"),
        ("a.csv", 'sentence,label\n"fine"x,yes\n', "line 2: something follows a closing quote"),
        ("a.tsv", "sentence\tlabel\rfine\tyes\r", r"its lines end in \\r alone"),
        ("a.tsv", "s\0e\0n\0\tlabel\nfine\t1\n", "line 1: holds a zero byte"),
        ("a.tsv", "sentence\tlabel\nfine\tyes\ngood\t \n", "line 3: the label is missing; give it one, or remove"),
        ("a.csv", "sentence,label\nfine,NaN\n", r"line 2: the label is missing \(NaN\)"),
        ("a.jsonl", '{"sentence": "x", "label": NaN}\n', "line 1: column 'label' must hold text or a whole number"),
        ("a.jsonl", '{"sentence": "x", "label": null}\n', "line 1: column 'label' must hold text or a whole number"),
        ("a.jsonl", '{"sentence": true, "label": 1}\n', "line 1: column 'sentence' must hold text or a whole"),
        ("a.jsonl", '{"sentence": "x", "label": 1}\n{"sentence": "y"}\n', "line 2: there is no column 'label'"),
        ("a.jsonl", f'{{"sentence": "x", "label": {"9" * 5000}}}\n', "line 1: not JSON"),
        ("a.tsv", "sentence\tlabel\nfine\t01\n", "line 2: label '01' is none of no, yes"),
        ("a.tsv", "sentence\tlabel\nfine\t\uff11\n", "line 2: label '\uff11' is none of no, yes"),
        ("a.tsv", f"sentence\tlabel\nfine\t{'long ' * 50}\n", "line 2: a label of 249 characters"),
    ],
)
def test_bad_files_are_refused_with_what_and_where(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_examples(write(tmp_path / name, content), label_names=("no", "yes"))


def test_what_is_there_and_no_file_of_rows_is_told_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder.tsv").mkdir()
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(UserError, match=r"folder\.tsv: is a directory"):
        read_examples(tmp_path / "folder.tsv")
    with pytest.raises(UserError, match=r"pipe\.tsv: is a pipe or a device"):
        read_examples(tmp_path / "pipe.tsv")


@pytest.mark.parametrize("columns", [("label",), ("sentence", "label"), ("sentence", "sentence")])
def test_a_column_is_not_two_things(tmp_path: Path, columns: tuple[str, ...]) -> None:
    """Trained on, a label that is also the text would be right always, and say nothing."""
    path = write(tmp_path / "a.csv", "sentence,label\nfine,yes\ndull,no\n")
    with pytest.raises(UserError, match="one column is named twice"):
        read_examples(path, text_columns=columns)


def test_missing_files_other_encodings_and_unknown_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.tsv: no such file"):
        read_examples(tmp_path / "nowhere.tsv")
    (tmp_path / "latin.tsv").write_bytes("sentence\tlabel\ncafé\t1\n".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        read_examples(tmp_path / "latin.tsv")
    with pytest.raises(UserError, match="line 3: label '1' is none of yes"):
        read_examples(tsv(tmp_path / "a.tsv"), label_names=("yes",))


def classes(path: Path, labels: list[object], **options: object) -> tuple[tuple[str, ...], list[int]]:
    rows = "".join(f"text {row}\t{label}\n" for row, label in enumerate(labels))
    found = read_examples(write(path / "a.tsv", "sentence\tlabel\n" + rows), **options)
    assert found.labels is not None
    return found.label_names, found.labels.tolist()


@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        ([5, 1, 2, 4, 3], ("1", "2", "3", "4", "5"), [4, 0, 1, 3, 2]),
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        ([-1, 1], ("-1", "1"), [0, 1]),
        ([0, 2], ("0", "2"), [0, 1]),
        ([20240101, 7], ("7", "20240101"), [1, 0]),
        (["true", "false"], ("false", "true"), [1, 0]),
        (["none", "some"], ("none", "some"), [0, 1]),
    ],
)
def test_classes_are_the_labels_that_occur(
    tmp_path: Path, labels: list[object], names: tuple[str, ...], indices: list[int]
) -> None:
    assert classes(tmp_path, labels) == (names, indices)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 1, 1], "every row has the label '1'; a classifier needs 2 to 1000"),
        ([20240101], "every row has the label '20240101'"),
        (list(range(2500)) * 2, "2,500 distinct labels in 5,000 rows; .* name the column of the labels"),
        ([row / 7 for row in range(30)], "30 distinct labels in 30 rows"),
        (["good", "Good", "bad"], "the labels 'Good' and 'good' differ only in how they are written"),
        (["1", "0", "1.0"], "the labels '1' and '1.0' differ only in how they are written"),
        (["négatif", "ne\u0301gatif", "positif"], "differ only in how they are written"),
    ],
)
def test_labels_that_make_no_classes_are_refused(tmp_path: Path, labels: list[object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        classes(tmp_path, labels)


def test_a_number_is_a_name_first_and_a_class_only_where_that_was_agreed(tmp_path: Path) -> None:
    assert classes(tmp_path, [1, 0], label_names=("no", "yes"))[1] == [1, 0]
    assert classes(tmp_path, [1, 3], label_names=("1", "2", "3"))[1] == [0, 2]
    with pytest.raises(UserError, match="line 2: label '0' is none of 1, 2, 3"):  # not the first of them
        classes(tmp_path, [0, 1], label_names=("1", "2", "3"))
    with pytest.raises(UserError, match="line 2: label '1' is none of no, yes"):
        classes(tmp_path, [1, 0], label_names=("no", "yes"), numbered=False)
    with pytest.raises(UserError, match="the labels no, no: no is there twice"):
        classes(tmp_path, [1, 0], label_names=("no", "no"))
    assert classes(tmp_path, ["null", "other"], label_names=("null", "other"))[1] == [0, 1]


def test_labels_of_some_rows_alone_are_refused_where_they_are_optional(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"sentence": "x"}\n{"sentence": "y", "label": 1}\n')
    with pytest.raises(UserError, match="line 2: a label, which the rows before have not"):
        read_examples(path, labelled=None)


def test_json_truths_are_labels_as_json_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"sentence": "x", "label": true}\n{"sentence": "y", "label": false}\n')
    assert read_examples(path).label_names == ("false", "true")


SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
"""What `str.splitlines` splits at, beside `\\n`, `\\r` and `\\r\\n`."""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", [".txt", ".TXT", ".tsv", ".CSV", ".jsonl"])
def test_a_line_ends_where_it_ends_and_nowhere_else(tmp_path: Path, suffix: str, end: str) -> None:
    texts = [f"one{mark}text" for mark in SEPARATORS] + ["another\rtext", "the last"]
    if suffix.lower() == ".jsonl":
        lines = [json.dumps({"sentence": text}, ensure_ascii=False) for text in texts]
    else:
        quoted = (f'"{text}"' if suffix == ".CSV" else text for text in texts)
        lines = [*([] if suffix.lower() == ".txt" else ["sentence"]), *quoted]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(("\ufeff" + end.join(lines) + end).encode())
    assert read_texts(path) == texts


def test_a_text_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content, message in ((b"", "is empty"), (b" \n\n", "is empty"), (b"caf\xe9\n", "is not UTF-8 text")):
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_texts(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"b\.txt: no such file"):
        read_texts(tmp_path / "b.txt")


@given(count=st.integers(1, 200), fraction=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_a_split_shares_out_every_row_once(count: int, fraction: float, seed: int) -> None:
    from freediv.conversion.texts.examples import Examples

    texts = tuple(str(row) for row in range(count))
    rest, split = split_off(Examples(texts, np.arange(count), (), Path(), ""), fraction, seed)
    assert sorted([*rest.texts, *split.texts], key=int) == list(texts)
    assert len(split) == round(fraction * count)
