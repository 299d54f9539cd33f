"""What predictions are to a program, where their numbers are revealed and where they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from freediv.model.answers import ANSWERS, LABEL, LABELS, SCORE
from freediv.owners.results import Reading, reading_of
from tiny import architecture

NAMES = ("calm", "glad", "sad")


def reading(answer: str, **fields: object) -> Reading:
    return reading_of(architecture(answer=answer, **{"label_names": NAMES} | fields))


def test_of_one_label_all_probabilities_are_known_from_logits() -> None:
    read = reading("label")
    [prediction] = LABEL.decode(read.architecture, np.log([[0.2, 0.7, 0.1]]), "logits")
    found = read.labels(prediction)
    assert (found.label, found.labels) == ("glad", ("glad",))
    assert found.score == pytest.approx(0.7)
    assert found.scores == pytest.approx({"glad": 0.7, "calm": 0.2, "sad": 0.1})
    assert list(found.scores or ()) == ["glad", "calm", "sad"]
    assert read.labels(prediction, raw=True).score == pytest.approx(math.log(0.7))


def test_of_any_number_of_labels_the_most_probable_comes_first() -> None:
    read = reading("labels")
    [both, none] = LABELS.decode(read.architecture, np.array([[1.0, -3.0, 2.0], [-1.0, -1.0, -1.0]]), "logits")
    found = read.labels(both)
    assert found.labels == ("sad", "calm")
    assert found.scores == pytest.approx(
        {"sad": 1 / (1 + math.exp(-2)), "calm": 1 / (1 + math.exp(-1)), "glad": 1 / (1 + math.exp(3))}
    )
    assert found.score == pytest.approx(1 / (1 + math.exp(-2)))
    found = read.labels(none)
    assert (found.label, found.labels, found.score, found.answered) == (None, (), None, True)


@pytest.mark.parametrize("name", ["label", "labels", "score", "pieces", "vector"])
def test_a_text_without_an_answer_says_so(name: str) -> None:
    fields = {"score": {"label_names": ("relevance",)}, "vector": {"label_names": (), "pooler": "none"}}
    read = reading(name, **fields.get(name, {}))
    [wanted] = read.gives
    found = read.read(wanted, ANSWERS[name].unanswered)
    assert not found.answered
    own = {key: value for key, value in vars(found).items() if key not in ("index", "answered", "cost")}
    assert all(value in (None, ()) for value in own.values())


def test_of_scores_the_better_has_the_lesser_place_whatever_is_revealed() -> None:
    read = reading("score", label_names=("relevance",))
    values = {"label": np.array([[0.5], [-1.0], [2.0]]), "order": np.array([1, 2, 0]), "threshold": np.array([1, 0, 1])}
    for output, revealed in values.items():
        found = [read.score(one) for one in SCORE.decode(read.architecture, revealed, output)]  # type: ignore[arg-type]
        best = sorted(range(3), key=lambda row: found[row].place)
        assert best == ([0, 2, 1] if output == "threshold" else [2, 0, 1])
        assert [one.score is not None for one in found] == [output == "label"] * 3
    assert read.score(SCORE.unanswered).place == math.inf
