"""Kinds of answer: what one encodes it reads again, and plaintext says the same."""

from __future__ import annotations

import json
from itertools import product
from typing import Any, get_args

import jax.numpy as jnp
import numpy as np
import pytest
from freediv.model import Architecture, LayerFunctions, Text
from freediv.model.answers import ANSWERS, NO_ANSWER, SCORE, VECTOR, Output, answer_of, marked
from freediv.model.answers.pieces import spans
from freediv.model.limits import resolutions
from freediv.model.pieces.cut import Cut
from tokenizers import Tokenizer, models, pre_tokenizers, processors

NAMES = ("negative", "positive", "neither")
LENGTH = 3


def architecture(labels: int, row_limits: bool, **fields: Any) -> Architecture:
    chosen = LayerFunctions(
        attention="2quad-freediv", activation="quad", attention_norm="layernorm-constant" if row_limits else "layernorm"
    )
    return Architecture(
        vocabulary=40, embedding_size=16, hidden=16, layers=2, heads=4, intermediate=24, positions=32,
        label_names=NAMES[:labels], functions=(chosen,) * 2, row_limits=row_limits, **fields,
    )  # fmt: skip


def compared(model: Architecture, within: np.ndarray) -> Any:
    """What the last stage gives beside logits: rows within their limits or not, and both signs of masks that show."""
    if not model.row_limits:
        return jnp.zeros((len(within), 0))
    found = []
    for own in resolutions(model):
        rows = own.size(LENGTH) // own.comparisons
        found.append(np.where(within[:, None], -1.0, 1.0) * np.ones((1, own.limits * rows)))
        found += [sign * np.ones((len(within), rows)) for _ in own.masks for sign in (1, -1)]
    return jnp.asarray(np.concatenate(found, axis=-1), jnp.float32)


@pytest.mark.parametrize(("labels", "output", "limited"), list(product((2, 3), ("label", "logits"), (False, True))))
def test_what_is_encoded_is_read_again_and_as_in_plaintext(labels: int, output: Any, limited: bool) -> None:
    model = architecture(labels, limited)
    logits = np.array([[0.5, -1.0, -2.0], [-1.0, 2.0, 0.0], [0.25, 0.5, 1.0], [3.0, 1.0, 2.0]])[:, :labels]
    within = np.array([True, False, True, True]) if limited else np.ones(4, bool)
    answer = answer_of(model)
    given = jnp.asarray(logits, jnp.float32)
    values = np.asarray(answer.encode(model, given, compared(model, within), output))
    assert values.shape == answer.shape(model, output, 4, LENGTH)
    found = answer.decode(model, values, output)
    wanted = [NAMES[label] if kept else NO_ANSWER for label, kept in zip(logits.argmax(-1), within, strict=True)]
    assert [one.name for one in found] == wanted
    assert [one.answered for one in found] == list(within)
    if output == "logits":
        assert [one.logits for one in found] == [
            tuple(row) if kept else None for row, kept in zip(logits, within, strict=True)
        ]
    plain = answer.plain(model, np.asarray(marked(given, jnp.asarray(within))))
    assert answer.right(answer.private(found), plain).all()
    np.testing.assert_array_equal(answer.answered(plain), within)
    # In JSON, a text without an answer has no label, and never its logits.
    assert [one.entry()["label"] for one in found] == [None if name == NO_ANSWER else name for name in wanted]
    assert all("logits" not in one.entry() for one in found if not one.answered)


def test_no_answer_is_right_of_no_text_and_no_number_is_no_answer() -> None:
    model = architecture(2, True)
    answer = answer_of(model)
    found = answer.plain(model, np.array([[np.nan, np.nan], [np.inf, 0.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(answer.answered(found), [False, False, True])
    np.testing.assert_array_equal(answer.right(found, np.array([0, 0, 1])), [False, False, True])


@pytest.mark.parametrize("limited", [False, True])
def test_other_numbers_are_no_answer_that_anybody_gives(limited: bool) -> None:
    model = architecture(2, limited)
    for label in (-1, 2 + limited, 2**31 - 1):
        with pytest.raises(ValueError, match="is no label that the model has"):
            answer_of(model).decode(model, np.array([label]), "label")


OF_KIND: dict[str, dict[str, Any]] = {
    "label": {"labels": 3},
    "labels": {"labels": 3, "thresholds": (0.0, 0.5, -0.5)},
    "score": {"labels": 1},
    "pieces": {"labels": 3, "pooler": "none"},
    "vector": {"labels": 0, "pooler": "none", "normalised": True},
}
CASES = [(name, output) for name, answer in ANSWERS.items() for output in answer.outputs]


def cuts(*texts: Text) -> list[Cut]:
    """Texts of the words a, b and c, cut into them, with a special piece before."""
    tokenizer = Tokenizer(models.WordLevel({"[S]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[S]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[S] $A", pair="[S] $A [S] $B:1", special_tokens=[("[S]", 0)]
    )
    return [Cut(text, encoding) for text, encoding in zip(texts, tokenizer.encode_batch(list(texts)), strict=True)]


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize(("name", "output"), CASES)
def test_every_kind_gives_what_it_gives_in_plaintext_and_no_other_text_has_no_answer(
    name: str, output: Any, limited: bool
) -> None:
    model, answer = architecture(row_limits=limited, answer=name, **OF_KIND[name]), ANSWERS[name]
    texts = cuts("a b", "a", "b c", "c")
    within = np.array([True, False, True, True]) if limited else np.ones(4, bool)
    logits = np.random.default_rng(0).normal(size=(4, *answer.logits_shape(model, LENGTH))).astype(np.float32)
    shown = np.arange(LENGTH) < np.array([len(cut) for cut in texts])[:, None]
    given = logits * shown[..., None] if answer.each_piece else logits
    values = np.asarray(answer.encode(model, jnp.asarray(given), compared(model, within), output))
    assert values.shape == answer.shape(model, output, 4, LENGTH)
    found = answer.decode(model, values, output, texts)
    assert [one.answered for one in found] == list(within)
    assert [one.name == NO_ANSWER for one in found] == list(~within)
    clear = np.where(shown[..., None], logits, np.nan) if answer.each_piece else logits
    clear = np.asarray(marked(jnp.asarray(clear), jnp.asarray(within)))
    plain, private = answer.plain(model, clear, output), answer.private(found)
    assert answer.right(private, plain).all()
    np.testing.assert_array_equal(answer.answered(plain), within)
    assert not answer.right(np.roll(private, 1, axis=0), plain).all()
    assert all(None in json.loads(json.dumps(one.entry())).values() for one in found if not one.answered)
    if output == "logits":
        for one, other in zip(found, answer.read(model, clear, texts), strict=True):
            if one.answered:
                np.testing.assert_allclose(one.logits, other.logits, atol=1e-6)


def test_an_order_has_no_text_twice_and_equal_scores_have_their_own_order() -> None:
    model = architecture(row_limits=False, answer="score", labels=1)
    scores = jnp.array([[0.5], [2.0], [0.5], [-1.0], [2.0]])
    values = np.asarray(SCORE.encode(model, scores, compared(model, np.ones(5, bool)), "order"))
    found = SCORE.decode(model, values, "order")
    assert [one.entry() for one in found] == [{"rank": rank} for rank in (3, 1, 4, 5, 2)]
    assert found[0].name == "3 of 5"
    alone = SCORE.decode(model, np.asarray(SCORE.encode(model, scores[:1], jnp.zeros((1, 0)), "order")), "order")
    assert [one.entry() for one in alone] == [{"rank": 1}]


def test_a_text_without_an_answer_has_no_place_among_the_others() -> None:
    """Whatever its score would be: the order of the others is told by theirs alone."""
    model, within = architecture(row_limits=True, answer="score", labels=1), np.array([True, False, True, True])
    for score in (-5.0, 1.5, 5.0):
        scores = jnp.array([[1.0], [score], [3.0], [2.0]])
        values = np.asarray(SCORE.encode(model, scores, compared(model, within), "order"))
        np.testing.assert_array_equal(values, [2, 4, 0, 1])
        assert [one.entry()["rank"] for one in SCORE.decode(model, values, "order")] == [3, None, 1, 2]


def test_a_cluster_whose_output_a_model_has_not_must_not_serve_it() -> None:
    for answer in ANSWERS.values():
        for output in get_args(Output):
            assert (answer.misfit(output) is None) == (output in answer.outputs)
    assert "output is order, and the model answers a vector: set output: label or logits" in VECTOR.misfit("order")


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["O", "B-X", "I-X"], [("X", "b c")]),
        (["O", "I-X", "I-X"], [("X", "b c")]),  # as IOB1 begins them
        (["I-X", "B-X", "I-Y"], [("X", "a"), ("X", "b"), ("Y", "c")]),
        (["B-X", "E-X", "S-X"], [("X", "a b"), ("X", "c")]),
        (["NOUN", "NOUN", "VERB"], [("NOUN", "a b"), ("VERB", "c")]),
        (["O", "O", "O"], []),
    ],
)
def test_words_make_spans_by_the_scheme_of_their_labels(labels: list[str], wanted: list[tuple[str, str]]) -> None:
    [cut] = cuts("a  b c")
    found = list(spans(["B-Z", *labels], cut))  # what a special piece has is no word's
    assert [(span.label, " ".join(span.words.split())) for span in found] == wanted
    assert all(cut.text[span.start : span.end] == span.words for span in found)


def test_no_span_goes_from_one_text_of_a_pair_to_the_other() -> None:
    [cut] = cuts(("a", "b c"))
    found = [(span.text, span.start, span.end, span.words) for span in spans(["O", "X", "O", "X", "X"], cut)]
    assert found == [(0, 0, 1, "a"), (1, 0, 3, "b c")]


def test_a_word_has_the_label_of_its_first_piece() -> None:
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    [encoding] = tokenizer.encode_batch(["ab a"])
    found = list(spans(["B-X", "O", "I-X"], Cut("ab a", encoding)))
    assert [(span.start, span.end, span.words) for span in found] == [(0, 4, "ab a")]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("labels", [[0, 1, 2]], "is no choice of the labels"),
        ("labels", [[2, 2, 1]], "is no choice of the labels"),
        ("labels", [[-1, 0, 0]], "is no choice of the labels"),
        ("pieces", [[0, 3, 0]], "is no label that the model has"),
        ("pieces", [[-1, 0, 0]], "is no label that the model has"),
        ("score/order", [0, 0, 1], "is no order of the texts"),
        ("score/order", [1, 2, 4], "is no order of the texts"),
        ("score/threshold", [0, 1, 3], "is neither above the threshold nor not"),
    ],
)
@pytest.mark.parametrize("limited", [False, True])
def test_what_no_honest_party_gives_is_no_answer(name: str, values: Any, message: str, limited: bool) -> None:
    name, _, output = name.partition("/")
    model = architecture(row_limits=limited, answer=name, **OF_KIND[name])
    with pytest.raises(ValueError, match=message):
        ANSWERS[name].decode(model, np.array(values), output or "label", cuts("a b"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": 2, "answer": "score"}, "label_names: a model that answers a score has 1, not 2"),
        ({"labels": 1, "answer": "label"}, "answers one label out of several has 2 to 1024, not 1"),
        ({"labels": 0, "answer": "vector"}, "pooler: 'tanh'; a model that answers a vector has none"),
        ({"labels": 2, "answer": "span"}, "there is no answer 'span'; known: label, labels, pieces, score, vector"),
        ({"labels": 2, "thresholds": (0.5,)}, "thresholds: 1 of them for 2 logits"),
        ({"labels": 2, "thresholds": (0.5, float("nan"))}, "thresholds: they are logits, of less than 1024"),
    ],
)
def test_an_architecture_that_no_kind_has_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        architecture(row_limits=False, **fields)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_kind_has_words_for_what_is_given(name: str) -> None:
    answer = ANSWERS[name]
    assert answer.name == name
    assert set(answer.words.given) == set(answer.words.last_step) == set(answer.outputs)
    assert name in OF_KIND
