"""Real workers whose products run on the shares, beside workers that leave everything to SPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.model import LayerSizes, answer, fold, forward, prepare_inputs
from freediv.model.functions.disentangled import Disentangled
from freediv.model.functions.pooling import Pool
from freediv.mpc.engine import ENGINES
from freediv.mpc.link.failures import ProgramMismatch
from freediv.mpc.sharing.settings import TRUSTED_FIRST_PARTY, Products, ProtocolSettings
from mpc.parties import Parties, architecture, random_parameters, sentences

TOLERANCE = 0.02
"""Of logits about 1, as between SPU and floating point."""

DISENTANGLED = {
    "disentangled": Disentangled(terms=("c2p", "p2c"), span=8, buckets=8, farthest=64, shared=True, normed=True),
    "absolute_positions": False,
    "token_types": 0,
}
"""As DeBERTa has it."""
MODERN = {
    "layers": 2,
    "norm_first": True,
    "final_norm": "layernorm",
    "absolute_positions": False,
    "token_types": 0,
    "rotary": {"theta": 1000.0, "window_theta": 100.0},
    "window": {"reach": 4, "every": 2},
    "gated": True,
    "without_bias": ("attention", "feed_forward", "norm", "classifier"),
    "pooling": "mean",
    "pooler": "relu",
    "pooler_norm": "layernorm",
}
"""As ModernBERT has it, but for the pooler."""

THINNED = {
    "layers": 2,
    "relative_buckets": 8,
    "sizes": (
        LayerSizes(pool=Pool(rows=2)),
        LayerSizes(heads=3, intermediate=20, pool=Pool(rows=3, first_apart=False)),
    ),
}
"""Layers that are thinner than others."""
SPECIAL = ("relative_buckets", "disentangled", "norm_first", "gated", "sizes")


@pytest.fixture(scope="module")
def on_shares() -> Iterator[Parties]:
    with Parties(products="shares") as parties:
        yield parties.join()


@pytest.fixture(scope="module")
def in_spu() -> Iterator[Parties]:
    with Parties(products="spu") as parties:
        yield parties.join()


def run(parties: Parties, directory: Path, model: Any, parameters: Any, output: str = "logits") -> Any:
    parties.load(directory, model, parameters, output=output)
    tokens, mask = sentences(model.vocabulary)
    results = parties.run(parties.inputs(tokens, mask, parameters["embedding"]["word"]), *tokens.shape)
    return parties.answer(results), results


@pytest.mark.parametrize(
    "functions",
    [
        {"attention": "2quad-freediv", "activation": "quad"},
        {"attention": "softmax-freediv", "activation": "quad", "attention_norm": "layernorm-constant"},
        {"attention": "softmax", "activation": "gelu"},
        {"attention": "relu-freediv", "activation": "relu"},
        {"attention": "softmax-puma", "activation": "gelu-puma"},
        {"attention": "2quad", "activation": "gelu-fourier"},
        {"attention": "2quad-freediv", "relative_buckets": 8, "token_types": 0},  # as MPNet
        {"attention": "2quad-freediv", **DISENTANGLED},
        {"attention": "softmax", "activation": "gelu", **DISENTANGLED},
        {"attention": "2quad-freediv", "embedding_norm": "none", "norm_first": True, "final_norm": "layernorm"},
        {"attention": "2quad-freediv", **MODERN},
        {"attention": "2quad-freediv", **THINNED},
        {"attention": "softmax", "activation": "gelu", **THINNED, "pooling": "mean"},
    ],
    ids=lambda f: "-".join([f["attention"], *(name for name in SPECIAL if name in f)]),
)
def test_a_model_gives_the_same_as_in_spu_alone_and_as_in_the_clear(
    on_shares: Parties, in_spu: Parties, tmp_path: Path, functions: dict[str, Any]
):
    model = architecture(**{"layers": 1} | functions)
    parameters = random_parameters(model)
    tokens, mask = sentences(model.vocabulary)
    plain = np.asarray(forward(model, parameters, {"token_ids": tokens, "mask": mask.astype(np.float32)}))
    ours, records = run(on_shares, tmp_path / "a", model, parameters)
    spu, spu_records = run(in_spu, tmp_path / "b", model, parameters)
    tolerance = TOLERANCE * max(1.0, float(np.ptp(plain)))
    np.testing.assert_allclose(ours, plain, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours, spu, rtol=0, atol=2 * tolerance)
    assert sum(r.cost.link.sent_messages for r in records) < sum(r.cost.link.sent_messages for r in spu_records)


@pytest.mark.parametrize("output", ["label", "logits"])
@pytest.mark.parametrize("labels", [2, 3])
def test_a_text_beyond_a_limit_gets_no_answer_and_others_theirs(
    on_shares: Parties, in_spu: Parties, tmp_path: Path, output: str, labels: int
):
    model = architecture(
        layers=1,
        norm="layernorm-constant",
        label_names=("negative", "positive", "neither")[:labels],
        row_limits=True,
    )
    parameters = random_parameters(model)
    tokens, mask = sentences(model.vocabulary, batch=3)
    inputs = prepare_inputs(model, tokens, mask)
    seen: dict[str, Any] = {}
    logits = np.asarray(answer(model, fold(model, parameters), inputs, seen.__setitem__)[0])
    rows = np.where(mask > 0, np.square(seen["encoder.0.attention/output"]).mean(-1), 0).max(-1)
    own = parameters["encoder.0.attention"]

    def said(limit: float, parties: Parties = on_shares) -> Any:
        parameters["classifier"]["limits"] = np.array([limit, 1e3], np.float32)
        parties.load(tmp_path, model, parameters, output=output)
        return parties.answer(parties.run(parties.inputs(tokens, mask), *tokens.shape))

    def check(answers: Any, within: Any) -> None:
        if output == "label":
            np.testing.assert_array_equal(answers, np.where(within, logits.argmax(-1), labels))
        else:
            np.testing.assert_array_equal(answers[:, -1], within)
            np.testing.assert_array_equal(answers[~np.asarray(within)], 0)
            wanted = np.where(np.asarray(within)[:, None], logits, 0)
            np.testing.assert_allclose(answers[:, :-1], wanted, atol=TOLERANCE * max(1.0, float(np.ptp(logits))))

    check(said(1e3), [True] * 3)
    middle = float(np.sort(rows)[:2].mean())  # between the shortest and the next
    for parties in (on_shares, in_spu):
        check(said(middle, parties), rows < middle)
    # Rows so long that their squares wrap around, and then whatever is computed from them.
    own["output.bias"] = own["output.bias"] + np.linspace(-1, 1, model.hidden, dtype=np.float32) * 2**14
    for parties in (on_shares, in_spu):
        answers = said(1e3, parties)
        assert (answers == (labels if output == "label" else 0)).all()


@pytest.mark.parametrize(("output", "most"), [("label", 9), ("logits", 21)])
def test_limits_cost_few_messages(on_shares: Parties, tmp_path: Path, output: str, most: int) -> None:
    """A party sends 4 / 3 for the squares, and 3 + 4 for trees over 6 bits a row and 16 rows. Logits, which nothing
    compares otherwise, take a comparison and a choice as well: 8 and 4.
    """
    sent = []
    for limited in (False, True):
        model = architecture(
            layers=1,
            norm="layernorm-constant",
            embedding_norm="layernorm-constant",
            row_limits=limited,
        )
        parameters = random_parameters(model)
        if limited:
            parameters["classifier"]["limits"] = np.full(sum(model.limited), 1e3, np.float32)
        on_shares.load(tmp_path, model, parameters, output=output)
        results = on_shares.run(on_shares.inputs(*sentences(model.vocabulary, length=16)), 2, 16)
        sent.append(sum(result.cost.link.sent_messages for result in results) / 3)
    assert sent[1] - sent[0] <= most


def test_messages_and_bytes_are_counted_stage_by_stage(on_shares: Parties, tmp_path: Path):
    model = architecture(
        layers=1,
        norm="layernorm-constant",
        embedding_size=32,
        hidden=96,
        intermediate=200,
    )
    _, results = run(on_shares, tmp_path, model, random_parameters(model))
    stages = [[r.cost.stages[k] for r in results] for k in range(4)]
    sent = [sum(record.sent_messages for record in stage) for stage in stages]
    assert sent[1:3] == [6 * 4, 4 * 4]  # exchanges of four messages
    for stage in stages:
        assert sum(r.sent_bytes for r in stage) == sum(r.received_bytes for r in stage)
    for result in results:  # what the kernel saw: all that was counted, and framing
        assert result.cost.link.sent_bytes < result.cost.wire_sent_bytes < 1.5 * result.cost.link.sent_bytes + 100_000


def test_distances_cost_no_message_and_no_byte(on_shares: Parties, tmp_path: Path) -> None:
    """Products with keys and queries of distances join those with pieces' before they are exchanged."""
    attention = []
    for fields in ({}, DISENTANGLED | {"absolute_positions": True, "token_types": 2}):
        model = architecture(layers=2, **fields)
        _, results = run(on_shares, tmp_path, model, random_parameters(model))
        sent = [result.cost.stages[1] for result in results]
        attention.append((sum(own.sent_messages for own in sent), sum(own.sent_bytes for own in sent)))
    assert attention[0] == attention[1]


@pytest.mark.parametrize("names", [("no", "yes"), ("no", "perhaps", "yes", "always")])
def test_labels_alone(on_shares: Parties, tmp_path: Path, names: tuple[str, ...]):
    model = architecture(layers=1, label_names=names)
    parameters = random_parameters(model)
    logits, _ = run(on_shares, tmp_path / "a", model, parameters)
    labels, _ = run(on_shares, tmp_path / "b", model, parameters, output="label")
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, logits.argmax(-1))


def test_a_second_request_and_another_length_run_on_the_same_link(on_shares: Parties, tmp_path: Path):
    model = architecture(layers=1)
    parameters = random_parameters(model)
    on_shares.load(tmp_path, model, parameters)
    for length in (16, 32, 16):
        tokens, mask = sentences(model.vocabulary, length=length)
        plain = np.asarray(forward(model, parameters, {"token_ids": tokens, "mask": mask.astype(np.float32)}))
        found = on_shares.predict(tokens, mask)
        np.testing.assert_allclose(found, plain, rtol=0, atol=TOLERANCE * max(1.0, float(np.ptp(plain))))


def test_parties_that_differ_in_their_engine_refuse_each_other():
    odd = Parties(products="spu", recv_timeout_s=10)
    odd.workers[1] = Parties(odd.addresses, products="shares", recv_timeout_s=10).workers[1]
    with odd, pytest.raises(ProgramMismatch, match="products"):
        odd.join()


def test_parties_may_load_at_different_times(on_shares: Parties, tmp_path: Path):
    """Nobody waits for the others before a request."""
    model = architecture(layers=1)
    parameters = random_parameters(model)
    places = on_shares.load(tmp_path, model, parameters)
    for worker, place in zip(on_shares.workers[:2], places, strict=False):  # two of them once more, one by one
        worker.load(model, "logits", place, "m")
    tokens, mask = sentences(model.vocabulary)
    plain = np.asarray(forward(model, parameters, {"token_ids": tokens, "mask": mask.astype(np.float32)}))
    np.testing.assert_allclose(on_shares.predict(tokens, mask), plain, rtol=0, atol=TOLERANCE * max(1.0, np.ptp(plain)))


def test_every_engine_has_a_name_that_a_cluster_can_give():
    assert set(ENGINES) == set(get_args(Products))


def test_other_protocols_are_refused(tmp_path: Path):
    semi2k = ProtocolSettings("SEMI2K", parties=2, beaver=TRUSTED_FIRST_PARTY)
    with Parties(settings=semi2k, products="shares") as parties:
        parties.join()
        with pytest.raises(UserError, match="set products: spu"):
            parties.load(tmp_path, architecture(layers=1), random_parameters(architecture(layers=1)))
