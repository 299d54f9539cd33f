"""How good answers of every kind are: beside scipy, and beside counts by hand."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from freediv.conversion.measures.evaluation import estimate, evaluate_answers
from freediv.conversion.texts.targets import labels_of_pieces
from freediv.model import Architecture, read_model, read_tokenizer
from freediv.model.answers import ANSWERS
from freediv.model.answers.measures import entities, nearest
from freediv.model.answers.pieces import IGNORED
from scipy import stats
from scipy.special import rel_entr, softmax

FAMILIES = Path(__file__).resolve().parents[1] / "model" / "families"


def of(answer: str, *names: str) -> Architecture:
    """An architecture that answers so."""
    plain = read_model(FAMILIES / "bert-classifier").architecture
    return Architecture(**{**plain.model_dump(), "answer": answer, "label_names": names, "pooler": "none"})


def test_correlations_are_scipys_with_equal_numbers_and_without_those_that_are_no_answer() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.integers(0, 6, 300).astype(float)
    found = wanted + rng.normal(0, 2, 300).round()
    found[[3, 40]] = np.nan
    known = np.isfinite(found)
    result = evaluate_answers(of("score", "score"), found, wanted, [9] * 300)
    assert result.overall.measure == "Spearman" and result.others[0].measure == "Pearson"
    assert result.overall.value == pytest.approx(stats.spearmanr(found[known], wanted[known]).statistic)
    assert result.others[0].value == pytest.approx(stats.pearsonr(found[known], wanted[known]).statistic)
    assert result.without_answer == 2
    assert result.overall.low < result.overall.value < result.overall.high


def test_an_interval_of_texts_drawn_anew_is_about_that_of_theory() -> None:
    """Fisher's, of Pearson's correlation of normal numbers."""
    rng = np.random.default_rng(1)
    both = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 800)
    found = evaluate_answers(of("score", "score"), both[:, 0], both[:, 1], [9] * 800).others[0]
    centre, half = np.arctanh(found.value), 1.96 / np.sqrt(797)
    assert (found.low, found.high) == pytest.approx((np.tanh(centre - half), np.tanh(centre + half)), abs=0.01)


def test_f1_of_labels_is_counted_over_all_or_of_each() -> None:
    wanted = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]])
    found = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [-1, -1, -1]])
    result = evaluate_answers(of("labels", "a", "b", "c"), found, wanted, [5] * 4)
    micro, (macro, every) = result.overall, result.others
    assert micro.value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert macro.value == pytest.approx((1 + 0.5) / 2)  # of c nothing is wanted, nor found
    assert (every.correct, every.count) == (1, 4)


def test_entities_are_what_the_schemes_say() -> None:
    labels = ["O", "B-PER", "I-PER", "B-PER", "O", "I-ORG", "I-LOC", "E-LOC", "thing", "thing", "O", "S-ORG"]
    assert list(entities(labels)) == [
        ("PER", 1, 2), ("PER", 3, 3), ("ORG", 5, 5), ("LOC", 6, 7), ("thing", 8, 9), ("ORG", 11, 11),
    ]  # fmt: skip
    assert list(entities(["B-A", "I-A"], [0, 1])) == [("A", 0, 0), ("A", 1, 1)]


def test_f1_of_entities_wants_the_very_same_words() -> None:
    names = ("O", "B-A", "I-A", "B-B")
    wanted = np.array([[IGNORED, 1, IGNORED, 2, 0, 3, IGNORED], [IGNORED, 0, 1, 0, IGNORED, IGNORED, IGNORED]])
    found = np.array([[3, 1, 3, 2, 0, 0, 3], [2, 0, 1, 2, 1, IGNORED, IGNORED]])
    result = evaluate_answers(of("pieces", *names), found, wanted, [7, 5])
    assert result.overall.value == pytest.approx(2 * 1 / (2 * 1 + 1 + 2))  # A of text 1; text 2's is a word too long
    assert result.others[0].value == pytest.approx(5 / 7)


def test_words_labels_go_to_their_first_pieces() -> None:
    tokenizer = read_tokenizer(FAMILIES / "bert-tokens")
    texts = ("The U.S. parties exchange, privately", "a")
    labels = np.array([[0, 1, 2, 3, 4], [5, IGNORED, IGNORED, IGNORED, IGNORED]])
    found = labels_of_pieces(tokenizer, texts, labels, 64)
    encoding = tokenizer.encode(texts[0])
    first = {}
    for place, (start, end) in enumerate(encoding.offsets):
        if end > start:
            first.setdefault(texts[0][:start].count(" "), place)
    assert {int(label): place for place, label in enumerate(found[0]) if label >= 0} == first
    assert len(encoding.ids) > 7  # some word is several pieces
    assert found[1].tolist()[:3] == [IGNORED, 5, IGNORED]


def test_the_nearest_text_is_found_by_the_angle() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(40, 8))
    assert nearest(vectors * rng.uniform(1, 9, (40, 1)), vectors).mean() == 1
    assert nearest(rng.normal(size=(40, 8)), vectors).mean() < 0.3
    cosine = ANSWERS["vector"].agreement(of("vector"))
    assert estimate(cosine, vectors, -vectors).value == pytest.approx(-1)


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_distance_is_zero_from_itself_alone_and_padding_has_none(kind: str) -> None:
    answer, rng = ANSWERS[kind], np.random.default_rng(3)
    shape = {"pieces": (2, 6, 4), "score": (2, 1)}.get(kind, (2, 4))
    wanted, other = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    mask = jnp.asarray([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]], jnp.float32)
    same, apart = (
        np.asarray(answer.distance(jnp.asarray(each), jnp.asarray(wanted), mask)) for each in (wanted, other)
    )
    assert same == pytest.approx(0, abs=1e-5) and (apart > 0.01).all() and same.shape == apart.shape == (2,)
    if answer.each_piece:
        beyond = wanted.copy()
        beyond[1, 2:] = np.nan
        assert np.asarray(answer.distance(jnp.asarray(other), jnp.asarray(beyond), mask)) == pytest.approx(apart)


def test_distances_of_labels_are_divergences() -> None:
    rng = np.random.default_rng(4)
    wanted, other = rng.normal(size=(2, 3, 5))
    found = ANSWERS["label"].distance(jnp.asarray(other), jnp.asarray(wanted), jnp.ones((3, 9)))
    assert np.asarray(found) == pytest.approx(rel_entr(softmax(wanted, -1), softmax(other, -1)).sum(-1), rel=1e-4)
    p, q = 1 / (1 + np.exp(-wanted)), 1 / (1 + np.exp(-other))
    found = ANSWERS["labels"].distance(jnp.asarray(other), jnp.asarray(wanted), jnp.ones((3, 9)))
    assert np.asarray(found) == pytest.approx((rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean(-1), rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "logits", "targets", "wanted"),
    [
        ("label", [[2.0, 0.0]], [0], np.log1p(np.exp(-2))),
        ("labels", [[2.0, -1.0]], [[1, 0]], (np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2),
        ("score", [[2.0]], [0.5], 2.25),
        ("pieces", [[[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]], [[0, IGNORED, 1]], (np.log1p(np.exp(-2)) + np.log(2)) / 2),
    ],
)
def test_losses_are_the_published_ones(kind: str, logits: list, targets: list, wanted: float) -> None:
    found = ANSWERS[kind].loss(jnp.asarray(logits), jnp.asarray(targets), jnp.ones((1, 3)))
    assert np.asarray(found) == pytest.approx([wanted], rel=1e-5)
