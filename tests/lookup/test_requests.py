"""Requests in keys through three real workers, beside the same requests in shares and the plaintext model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.model import LayerSizes, forward
from freediv.model.functions.pooling import Pool
from freediv.mpc.link.failures import NotBegun
from freediv.mpc.lookup.form import PIECES, Form, keys_share
from freediv.mpc.lookup.published_table import put_published
from freediv.mpc.lookup.tables import of_published
from freediv.mpc.worker.worker import WorkerConfig
from mpc.parties import Parties, architecture, random_parameters, sentences

TOLERANCE = 0.02


@pytest.fixture(scope="module")
def in_keys() -> Iterator[Parties]:
    with Parties(products="shares", lookup="points", lanes=2) as parties:
        yield parties.join()


@pytest.fixture(scope="module")
def in_shares() -> Iterator[Parties]:
    with Parties(products="shares", lookup="rows") as parties:
        yield parties.join()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"attention": "softmax", "activation": "gelu", "embedding_size": 8},
        {"separator_token": 3, "positions": 32},
        {"embedding_norm": "none", "norm_first": True, "final_norm": "layernorm"},
        {"embedding": "public"},
    ],
    ids=["mask over length", "mask, a factorised table", "pairs", "no norm", "a published table"],
)
def test_keys_give_what_shares_give_and_plaintext(
    in_keys: Parties, in_shares: Parties, tmp_path: Path, fields: dict[str, Any]
) -> None:
    model = architecture(layers=1, **fields)
    parameters = random_parameters(model)
    tokens, mask = sentences(model.vocabulary, batch=3)
    tokens = np.where(tokens == 3, 4, tokens)
    tokens[:, 4] = 3
    plain = np.asarray(forward(model, parameters, {"token_ids": tokens, "mask": mask.astype(np.float32)}))
    found = []
    for parties in (in_keys, in_shares):
        parties.load(tmp_path / str(len(found)), model, parameters)
        found.append(parties.predict(tokens, mask, parameters["embedding"]["word"]))
    tolerance = TOLERANCE * max(1.0, float(np.ptp(plain)))
    np.testing.assert_allclose(found[0], plain, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "fields",
    [
        {"relative_buckets": 8, "pooling": "mean"},
        {"attention_norm": "layernorm-constant", "row_limits": True},
    ],
    ids=["roots", "limits"],
)
def test_pooled_texts_of_every_length_get_what_plaintext_says(
    in_keys: Parties, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """One piece, odd numbers of them, and as many as the model has positions, which are odd too."""
    sizes = (LayerSizes(pool=Pool(rows=2)), LayerSizes(heads=3, intermediate=20, pool=Pool(rows=3, first_apart=False)))
    model = architecture(layers=2, positions=21, sizes=sizes, **fields)
    assert model.buckets == (16, 21)
    parameters = random_parameters(model)
    if model.row_limits:
        parameters["classifier"]["limits"] = np.full(2, 1e3, np.float32)
    lengths = np.array([1, 2, 3, 4, 5, 6, 7, 11, 16, 20, 21])
    mask = (np.arange(21) < lengths[:, None]).astype(np.int64)
    tokens = np.random.default_rng(0).integers(1, model.vocabulary, mask.shape) * mask
    plain = np.asarray(forward(model, parameters, {"token_ids": tokens, "mask": mask.astype(np.float32)}))
    in_keys.load(tmp_path, model, parameters)
    found = in_keys.predict(tokens, mask)
    if model.row_limits:
        assert (found[:, -1] == 1).all()
        found = found[:, :-1]
    assert np.ptp(plain) > 0.5
    np.testing.assert_allclose(found, plain, rtol=0, atol=TOLERANCE * max(1.0, float(np.ptp(plain))))


def test_a_request_that_is_no_text_spoils_no_other_in_its_run(in_keys: Parties, tmp_path: Path) -> None:
    model = architecture(layers=1)
    parameters = random_parameters(model)
    in_keys.load(tmp_path, model, parameters)
    tokens, mask = sentences(model.vocabulary, batch=3)
    plain = np.asarray(forward(model, parameters, {"token_ids": tokens, "mask": mask.astype(np.float32)}))
    form = Form.of(model, 16)
    first, second = (form.write(tokens[some], mask[some]) for some in (slice(1), slice(1, 3)))
    odd = bytearray(first[2])
    odd[5] ^= 4
    first[2] = bytes(odd)
    inputs = [{PIECES: (keys_share(a, 1), keys_share(b, 2))} for a, b in zip(first, second, strict=True)]
    results = in_keys.run(inputs, 3, 16)
    assert {result.sound for result in results} == {(False, True)}
    np.testing.assert_allclose(in_keys.answer(results)[1:], plain[1:], rtol=0, atol=0.1)


def test_keys_of_another_size_are_not_begun(in_keys: Parties, tmp_path: Path) -> None:
    model = architecture(layers=1)
    in_keys.load(tmp_path, model, random_parameters(model))
    sound = in_keys.inputs(*sentences(model.vocabulary, batch=2))
    shorter = [{PIECES: keys_share(own[PIECES].chunks[0][1:], 2)} for own in sound]
    other = [{PIECES: keys_share(own[PIECES].chunks[0], 1)} for own in sound]
    for odd, why in ((shorter, "keys of 2 texts are due"), (other, "keys of 2 texts are due")):
        with pytest.raises(NotBegun, match=why):
            in_keys.run(odd, 2, 16)
    assert in_keys.run(sound, 2, 16)[0].sound == (True,)


def test_the_same_bytes_and_messages_whatever_the_texts(in_keys: Parties, tmp_path: Path) -> None:
    model = architecture(layers=1, norm="layernorm-constant", embedding_norm="layernorm-constant")
    in_keys.load(tmp_path, model, random_parameters(model))
    counts = []
    for seed in range(3):
        results = in_keys.run(in_keys.inputs(*sentences(model.vocabulary, batch=2, seed=seed)), 2, 16)
        # Over all parties, whose roles rotate; up to the classifier, a part of which SPU runs.
        stages = zip(*(result.cost.stages[:-1] for result in results), strict=True)
        counts.append([(sum(s.sent_bytes for s in own), sum(s.sent_messages for s in own)) for own in stages])
    assert counts[0] == counts[1] == counts[2]


def test_keys_need_products_on_shares() -> None:
    with pytest.raises(UserError, match="only with products: shares"):
        WorkerConfig(0, (("a", ""),) * 3, bytes(16), products="spu", lookup="points")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no word table can be read"),
        (np.zeros((39, 32)), "is not the model's word table"),
        (np.full((40, 32), np.nan), "is not the model's word table"),
    ],
    ids=["damaged", "of another model", "no numbers"],
)
def test_a_published_table_that_does_not_fit_is_refused(tmp_path: Path, content: Any, why: str) -> None:
    model = architecture(layers=1, embedding="public")
    put_published(content, tmp_path)
    with pytest.raises(UserError, match=why):
        of_published(model, tmp_path, 0, 18, 1)


def test_a_flipped_bit_in_a_published_table_is_found(tmp_path: Path) -> None:
    """One party's sums would be of another table than the other's."""
    model = architecture(layers=1, embedding="public")
    put_published(np.ones((40, 32)), tmp_path)
    assert of_published(model, tmp_path, 0, 18, 1).width == 32
    [path] = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="no word table can be read"):
        of_published(model, tmp_path, 0, 18, 1)
