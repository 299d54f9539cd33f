"""Whole requests through three real workers, against the plaintext model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.model import forward
from freediv.model.functions.activation import ACTIVATIONS
from freediv.model.functions.attention import ATTENTIONS
from freediv.model.functions.norms import NORMALISATIONS
from freediv.mpc.sharing.settings import TRUSTED_FIRST_PARTY, ProtocolSettings

from .parties import Parties, architecture, random_parameters, sentences

TOLERANCE = 0.05
"""Of logits that differ by about 1 between sentences: 18 fraction bits, SPU's approximate roots and exponentials."""


@pytest.fixture(scope="module")
def parties() -> Iterator[Parties]:
    with Parties() as three:
        yield three.join()


def _plain(model: Any, parameters: Any, token_ids: Any, mask: Any) -> np.ndarray:
    return np.asarray(forward(model, parameters, {"token_ids": token_ids, "mask": mask.astype(np.float32)}))


def _agrees(parties: Parties, directory: Path, model: Any, parameters: Any = None) -> None:
    parameters = parameters or random_parameters(model)
    parties.load(directory, model, parameters)
    token_ids, mask = sentences(model.vocabulary)
    plain = _plain(model, parameters, token_ids, mask)
    spread = np.ptp(plain, axis=0).max()
    tolerance = TOLERANCE * max(1.0, spread)
    assert spread > 4 * tolerance, "the sentences' logits are too alike to tell a wrong result"
    found = parties.predict(token_ids, mask, parameters["embedding"]["word"])
    np.testing.assert_allclose(found, plain, rtol=0, atol=tolerance)


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
def test_attention(parties: Parties, tmp_path: Path, attention: str) -> None:
    model = architecture(layers=1, attention=attention)
    parameters = random_parameters(model)
    if attention == "none":  # raw scores as weights: a variance whose root's reciprocal has few bits left
        parameters["encoder.0.attention"]["qkv.weight"] *= 0.2
    _agrees(parties, tmp_path, model, parameters)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activation(parties: Parties, tmp_path: Path, activation: str) -> None:
    _agrees(parties, tmp_path, architecture(layers=1, activation=activation))


@pytest.mark.parametrize("norm", sorted(NORMALISATIONS))
def test_normalisation(parties: Parties, tmp_path: Path, norm: str) -> None:
    _agrees(parties, tmp_path, architecture(layers=1, norm=norm))


@pytest.mark.parametrize("embedding", ["secret", "public"])
@pytest.mark.parametrize("embedding_size", [16, 32])
def test_embedding(parties: Parties, tmp_path: Path, embedding: str, embedding_size: int) -> None:
    _agrees(parties, tmp_path, architecture(layers=1, embedding=embedding, embedding_size=embedding_size))


def test_embedding_with_a_map_after_its_norm(parties: Parties, tmp_path: Path) -> None:
    _agrees(parties, tmp_path, architecture(layers=1, embedding_size=16, embedding_width=16))


@pytest.mark.parametrize("pooler", ["tanh", "identity", "none"])
def test_pooler(parties: Parties, tmp_path: Path, pooler: str) -> None:
    _agrees(parties, tmp_path, architecture(layers=1, pooler=pooler))


@pytest.mark.parametrize("labels", [2, 3])
def test_label_output_gives_the_label_alone(parties: Parties, tmp_path: Path, labels: int) -> None:
    model = architecture(layers=1, label_names=tuple("abc"[:labels]))
    parameters = random_parameters(model)
    token_ids, mask = sentences(model.vocabulary, batch=4)
    plain = _plain(model, parameters, token_ids, mask)
    biases = np.random.default_rng(0).normal(-plain.mean(axis=0), 0.5, (500, labels)).astype(np.float32)
    bias = max(biases, key=lambda bias: _margin(plain + bias))
    assert _margin(plain + bias) > TOLERANCE
    parameters["classifier"]["bias"] = parameters["classifier"]["bias"] + bias
    parties.load(tmp_path, model, parameters, output="label")
    found = parties.predict(token_ids, mask)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, (plain + bias).argmax(axis=-1))


def _margin(logits: np.ndarray) -> float:
    """By how much the closest decision is made; 0 where all sentences get the same label."""
    ordered = np.sort(logits, axis=-1)
    return float((ordered[:, -1] - ordered[:, -2]).min()) if len(set(logits.argmax(axis=-1))) > 1 else 0.0


@pytest.mark.parametrize(
    "settings",
    [
        ProtocolSettings("SEMI2K", parties=2, beaver=TRUSTED_FIRST_PARTY),
        ProtocolSettings(field="FM128", fraction_bits=26),
    ],
    ids=lambda settings: settings.name,
)
def test_other_protocols_and_rings(tmp_path: Path, settings: ProtocolSettings) -> None:
    with Parties(settings=settings) as parties:
        _agrees(parties.join(), tmp_path, architecture(layers=1))
