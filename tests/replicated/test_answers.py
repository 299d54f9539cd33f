"""Every kind of answer on shares: what is revealed is what it is in the clear, and nothing of what is beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.model import forward, prepare_inputs
from freediv.model.answers import ANSWERS
from freediv.mpc.sharing.shares import Share
from mpc.parties import Parties, architecture, random_parameters, sentences

TOLERANCE = 0.02
"""Of numbers about 1, as between SPU and floating point."""
BATCH, LENGTH = 4, 16
OF_KIND: dict[str, dict[str, Any]] = {
    "label": {"label_names": ("no", "perhaps", "yes")},
    "score": {"label_names": ("score",), "thresholds": (0.2,)},
    "labels": {"label_names": ("a", "b", "c", "d"), "thresholds": (0.0, 0.3, -0.3, 0.1)},
    "pieces": {"label_names": ("O", "B-X", "I-X"), "pooler": "none"},
    "vector": {"label_names": (), "pooler": "none", "pooling": "mean"},
}
LIMITED = {"norm": "layernorm-constant", "embedding_norm": "layernorm-constant", "row_limits": True}


@pytest.fixture(scope="module")
def parties() -> Iterator[Parties]:
    with Parties(products="shares") as three:
        yield three.join()


def made(kind: str, **fields: Any) -> tuple[Any, Any]:
    model = architecture(layers=1, answer=kind, **OF_KIND[kind], **fields)
    parameters = random_parameters(model)
    if model.row_limits:
        parameters["classifier"]["limits"] = np.full(sum(model.limited), 1e3, np.float32)
    if kind in ("label", "score"):  # none wins all
        logits = clear(model, parameters)[-1]
        parameters["classifier"]["bias"] = parameters["classifier"]["bias"] - np.median(logits, axis=0)
    return model, parameters


def clear(model: Any, parameters: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token ids, mask, and logits in the clear."""
    tokens, mask = sentences(model.vocabulary, batch=BATCH, length=LENGTH)
    inputs = {"token_ids": tokens, "mask": mask.astype(np.float32)}
    return tokens, mask, np.asarray(forward(model, parameters, inputs), np.float64)


def expected(kind: str, output: str, model: Any, logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What numpy makes of logits in the clear."""
    if output == "order":
        return (logits[:, 0] > logits).sum(axis=1)  # of each, how many are above it
    if output == "threshold" or (kind, output) == ("labels", "label"):
        above = logits > np.array(model.thresholds)
        return above[:, 0] if output == "threshold" else above
    if output == "label" and kind in ("label", "pieces"):
        return logits.argmax(axis=-1) * (mask if kind == "pieces" else 1)
    return logits * mask[..., None] if kind == "pieces" else logits  # which tell nothing of what is padded


@pytest.mark.parametrize(
    ("kind", "output"), [(name, output) for name, one in ANSWERS.items() for output in one.outputs]
)
def test_what_is_revealed_is_what_it_is_in_the_clear(parties: Parties, tmp_path: Path, kind: str, output: Any) -> None:
    model, parameters = made(kind)
    tokens, mask, logits = clear(model, parameters)
    parties.load(tmp_path, model, parameters, output=output)
    found = parties.predict(tokens, mask)
    assert found.shape == ANSWERS[kind].shape(model, output, BATCH, LENGTH)
    wanted = expected(kind, output, model, logits, mask)
    if np.issubdtype(wanted.dtype, np.floating):
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE * max(1.0, float(np.ptp(logits))))
    else:
        assert len(np.unique(wanted)) > 1
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("kind", "output"),
    [("score", "label"), ("score", "order"), ("score", "threshold"), ("labels", "label"), ("pieces", "label"),
     ("pieces", "logits"), ("vector", "label")],
)  # fmt: skip
def test_a_text_beyond_a_limit_has_one_answer_and_others_theirs(
    parties: Parties, tmp_path: Path, kind: str, output: Any
) -> None:
    """One piece of the second text is no one-hot, but 500 times that: rows of that length no text has."""
    model, parameters = made(kind, **LIMITED)
    tokens, mask, logits = clear(model, parameters)
    parties.load(tmp_path, model, parameters, output=output)
    inputs = prepare_inputs(model, tokens, mask)
    inputs["one_hot"][1, 2] *= 500
    by_rank: list[dict[str, Share]] = [{} for _ in range(3)]
    for name, array in inputs.items():
        for own, part in zip(by_rank, parties.share(array), strict=True):
            own[name] = part
    found = parties.answer(parties.run(by_rank, BATCH, LENGTH))
    others = [0, 2, 3]
    wanted = expected(kind, output, model, logits[others], mask[others])
    if output in ANSWERS[kind].as_logits:
        np.testing.assert_array_equal(found[:, -1], [1, 0, 1, 1])
        np.testing.assert_array_equal(found[1], 0)
        flat = wanted.reshape(len(others), -1)
        np.testing.assert_allclose(found[others, :-1], flat, atol=TOLERANCE * max(1.0, float(np.ptp(logits))))
    else:
        silent = {"order": BATCH, "threshold": 2}.get(output, 2 if kind == "labels" else model.labels)
        np.testing.assert_array_equal(found[1], np.full_like(found[1], silent))
        np.testing.assert_array_equal(found[others], wanted)
