"""What a data owner hears of rows beyond their limits: one answer for all of them, and no threshold to move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.model import answer, fold, prepare_inputs
from freediv.mpc.link.failures import NotBegun
from freediv.mpc.sharing.shares import Share
from mpc.parties import Parties, architecture, random_parameters, sentences

NAMES = ("negative", "positive", "neither")
LENGTH, REAL, HIDDEN = 16, 6, 9
"""Positions, those of the text, and one of the padding."""


@pytest.fixture(scope="module")
def parties() -> Iterator[Parties]:
    with Parties(products="shares") as three:
        yield three.join()


def rootless(labels: int = 2) -> tuple[Any, Any]:
    model = architecture(
        layers=1,
        norm="layernorm-constant",
        embedding_norm="layernorm-constant",
        row_limits=True,
        label_names=NAMES[:labels],
    )
    parameters = random_parameters(model)
    parameters["classifier"]["limits"] = np.full(sum(model.limited), 30, np.float32)
    return model, parameters


def texts(model: Any, count: int) -> dict[str, np.ndarray]:
    """The same short text over and over, as an owner would share it."""
    token_ids, mask = sentences(model.vocabulary, batch=1, length=LENGTH)
    mask[:, REAL:] = 0
    token_ids = np.where(mask > 0, token_ids, 0)
    inputs = prepare_inputs(model, np.repeat(token_ids, count, 0), np.repeat(mask, count, 0))
    return {name: array.copy() for name, array in inputs.items()}


def ask(parties: Parties, inputs: dict[str, np.ndarray], ring: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """The parties' answers to inputs of any kind; `ring` adds ring elements to what is shared of one."""
    by_rank: list[dict[str, Share]] = [{} for _ in range(3)]
    for name, array in inputs.items():
        for own, part in zip(by_rank, parties.share(array), strict=True):
            own[name] = part
    for name, added in (ring or {}).items():
        for rank, place in ((0, 0), (2, 1)):  # who hold x_0
            part = by_rank[rank][name]
            chunks = list(part.chunks)
            chunks[place] = (part.words()[place] + added).tobytes()
            by_rank[rank][name] = Share(part.meta, tuple(chunks))
    return parties.answer(parties.run(by_rank, len(inputs["mask_over_length"]), LENGTH))


@pytest.mark.parametrize(("output", "labels"), [("label", 2), ("label", 3), ("logits", 2)])
def test_beyond_is_one_answer(parties: Parties, tmp_path: Path, output: str, labels: int) -> None:
    """Texts of each label with one to six rows beyond, by little or far: one value is revealed for all of them."""
    model, parameters = rootless(labels)
    count = 12
    inputs = texts(model, count)
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, model.vocabulary, (count, REAL))
    inputs["one_hot"][:, :REAL] = np.eye(model.vocabulary, dtype=np.float32)[tokens]
    plain, _ = answer(model, fold(model, parameters), inputs)
    parameters["classifier"]["bias"] = parameters["classifier"]["bias"] - np.median(plain, axis=0)  # no label wins all
    parties.load(tmp_path, model, parameters, output=output)
    plain, fit = answer(model, fold(model, parameters), inputs)
    assert fit.all() and all(len(set(np.argmax(half, -1))) > 1 for half in np.split(np.asarray(plain), 2))
    for row in range(count // 2):
        inputs["one_hot"][row, : 1 + row] *= 40 * (1 + row)
    found = ask(parties, inputs)
    told, others = found[: count // 2], found[count // 2 :]
    if output == "label":
        np.testing.assert_array_equal(told, labels)
        np.testing.assert_array_equal(others, np.asarray(plain).argmax(-1)[count // 2 :])
    else:
        np.testing.assert_array_equal(told, 0)
        np.testing.assert_array_equal(others[:, -1], 1)
        np.testing.assert_allclose(others[:, :-1], plain[count // 2 :], atol=0.05)


def test_no_mask_is_a_threshold(parties: Parties, tmp_path: Path) -> None:
    """Bisecting a hidden row's length by real-valued masks: all but zero give the same answer, and zero the text's."""
    model, parameters = rootless()
    parties.load(tmp_path, model, parameters, output="label")
    masks = [0.0, 2**-18, -(2**-18), 2**-9, -0.25, 0.5, 0.75, 1 - 2**-18, 1.0, 2.0, 4096.0, -(2.0**20)]
    inputs = texts(model, len(masks))
    [usual] = set(ask(parties, inputs))
    assert usual in (0, 1)
    inputs["one_hot"][:, HIDDEN, 3] = 60  # its row is far beyond
    inputs["mask_over_length"][:, HIDDEN] = masks
    np.testing.assert_array_equal(ask(parties, inputs), [usual] + [2] * (len(masks) - 1))
    words = np.zeros((len(masks), LENGTH), np.uint64)  # every single bit of a mask, the ring's edge included
    words[:, HIDDEN] = [0, *(1 << bit for bit in (0, 17, 18, 40, 44, 45, 46, 60, 62, 63)), 2**64 - 1]
    inputs["mask_over_length"][:, HIDDEN] = 0
    found = ask(parties, inputs, {"mask_over_length": words})
    np.testing.assert_array_equal(found, [usual] + [2] * (len(masks) - 1))
    inputs["one_hot"][:, 0] *= 60  # the first row, which the classifier reads, counts whatever its mask
    inputs["mask_over_length"][:, [0, HIDDEN]] = 0
    np.testing.assert_array_equal(ask(parties, inputs), 2)


def test_what_padding_holds_changes_nothing(parties: Parties, tmp_path: Path) -> None:
    """Rows of any length declared padding: the text's logits, and no sign of the rows."""
    model, parameters = rootless()
    parties.load(tmp_path, model, parameters, output="logits")
    lengths = [0.0, 1.0, -60.0, 1e4, -1e6, 2.0**23]
    inputs = texts(model, len(lengths))
    plain, _ = answer(model, fold(model, parameters), inputs)
    inputs["one_hot"][:, HIDDEN, 3] = lengths
    found = ask(parties, inputs)
    np.testing.assert_array_equal(found[:, -1], 1)
    np.testing.assert_allclose(found[:, :-1], plain, atol=0.05)


def test_a_mask_beside_attentions_own_is_not_taken(parties: Parties, tmp_path: Path) -> None:
    """A second mask that would decide which rows count: the model takes none."""
    model, parameters = rootless()
    parties.load(tmp_path, model, parameters, output="label")
    inputs = texts(model, 1)
    assert "mask" not in inputs
    with pytest.raises(NotBegun, match="the model takes mask_over_length, one_hot"):
        ask(parties, inputs | {"mask": np.ones((1, LENGTH), np.float32)})
