"""What an attacker asks about: random words that say how they were drawn, or a file's texts, none twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from freediv.audit.asking.texts import LONGEST, SHORTEST, random_texts, texts_of
from freediv.errors import UserError
from freediv.model import read_model
from tiny import WORDS, make_tiny_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_random_texts_are_words_of_the_vocabulary_the_first_most_often(directory: Path) -> None:
    found = random_texts(read_model(directory), 2000, 50, 0)
    words = Counter(word for text in found.queries for word in text.split())
    assert set(words) == {word for word in WORDS if len(word) > 1}
    assert words["the"] > words["film"] > words["noise"]
    places = [word for word in WORDS if len(word) > 1]
    ratio = words[places[0]] / words[places[10]]
    assert ratio == pytest.approx((10 + 2.7) / 2.7, rel=0.1)  # 1 / (place + 2.7)
    lengths = [len(text.split()) for text in found.queries]
    assert (min(lengths), max(lengths)) == (SHORTEST, LONGEST)
    assert (len(found.queries), len(found.held_out), found.labels) == (2000, 50, None)
    assert found == random_texts(read_model(directory), 2000, 50, 0)


def test_a_model_of_pairs_is_asked_about_pairs(tmp_path: Path) -> None:
    model = read_model(make_tiny_model(tmp_path, separator_token=3, token_types=2))
    assert all(isinstance(text, tuple) and len(text) == 2 for text in random_texts(model, 20, 0, 0).queries)


def test_words_of_the_shipped_model_begin_with_its_most_frequent() -> None:
    words = Counter(" ".join(random_texts(read_model("demo"), 500, 0, 0).queries).split())
    assert words.most_common(1)[0][0] == "the"
    assert all(word.isalpha() and len(word) > 1 for word in words)


def test_texts_of_a_file_are_asked_once_and_never_compared_on(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    rows = [{"sentence": f"film {number % 40}", "label": number % 2} for number in range(80)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = texts_of(path, ("sentence",), read_model(directory), 20, 1000, 0)
    assert (len(found.queries), len(found.held_out)) == (20, 8)  # of 40 that differ
    assert len({*found.queries, *found.held_out}) == 28
    assert found.labels is not None
    wanted = [int(str(text).split()[1]) % 2 for text in found.queries]
    np.testing.assert_array_equal(found.labels, wanted)


def test_too_few_texts_are_refused(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("a film\nthe film\n", encoding="utf-8")
    with pytest.raises(UserError, match="has 2 texts"):
        texts_of(path, (), read_model(directory), 10, 10, 0)
