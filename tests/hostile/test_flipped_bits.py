"""Shares of an answer of which any bit was changed, at any one party: no kind of answer comes out different."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from freediv.mpc.sharing.settings import TRUSTED_FIRST_PARTY, ProtocolSettings
from freediv.mpc.sharing.shares import Share, reconstruct, share
from mpc.parties import Parties, architecture, random_parameters, sentences

RANKS = range(3)
ROOTLESS = {"norm": "layernorm-constant", "row_limits": True}
THREE = {"label_names": ("negative", "neutral", "positive")}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "one of two labels": ("label", {}),
    "one of three labels": ("label", THREE),
    "logits": ("logits", {}),
    "one of two labels, rows with limits": ("label", ROOTLESS),
    "one of three labels, rows with limits": ("label", ROOTLESS | THREE),
    "logits, rows with limits": ("logits", ROOTLESS),
}


@pytest.fixture(scope="module", params=["products on shares, FM64", "all in SPU, FM128"])
def parties(request: pytest.FixtureRequest) -> Iterator[Parties]:
    products, field = ("shares", "FM64") if "FM64" in request.param else ("spu", "FM128")
    with Parties(settings=ProtocolSettings(field=field), products=products) as three:
        yield three.join()


def flipped(content: bytes) -> Iterator[bytes]:
    """Content with one bit changed, each in turn."""
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def with_flips(held: Share) -> Iterator[Share]:
    """A share with one bit of its description, or of its words, changed: each in turn."""
    for meta in flipped(held.meta):
        yield Share(meta, held.chunks)
    for number, chunk in enumerate(held.chunks):
        for changed in flipped(chunk):
            yield Share(held.meta, (*held.chunks[:number], changed, *held.chunks[number + 1 :]))


def refuses_every_flip(shares: list[Share], settings: ProtocolSettings = ProtocolSettings()) -> None:
    named = re.compile(r"what ranks (\d) and (\d) hold in common differs")
    for rank in RANKS:
        found = []
        for changed in with_flips(shares[rank]):
            with pytest.raises(ValueError) as caught:
                reconstruct([*shares[:rank], changed, *shares[rank + 1 :]], settings)
            found.append(named.fullmatch(str(caught.value)))
        pairs = {match.groups() for match in found if match}
        assert pairs == {(str(rank), str((rank + 1) % 3)), (str((rank + 2) % 3), str(rank))}
        assert sum(map(bool, found)) >= sum(8 * len(chunk) for chunk in shares[rank].chunks) // 3


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_makes_another_answer(parties: Parties, tmp_path: Any, kind: str) -> None:
    """Every bit of each party's share of each kind of answer: the words that two parties hold are compared."""
    output, changes = KINDS[kind]
    model = architecture(layers=1, **changes)
    parameters = random_parameters(model)
    if model.row_limits:
        parameters["classifier"]["limits"] = np.full(sum(model.limited), 1e4, np.float32)
    parties.load(tmp_path, model, parameters, output=output)
    token_ids, mask = sentences(model.vocabulary)
    results = parties.run(parties.inputs(token_ids, mask, parameters["embedding"]["word"]), *token_ids.shape)
    assert parties.answer(results).shape[0] == 2
    refuses_every_flip([result.output for result in results], parties.settings)


def test_no_flipped_bit_of_a_seed_makes_another_array() -> None:
    """Words that travel as the seeds that they come from, too: both ranks that hold one have to have the same."""
    refuses_every_flip(share(np.array([1.0, -2.5])))


@pytest.mark.parametrize(
    "settings",
    [ProtocolSettings("SEMI2K", parties=2, beaver=TRUSTED_FIRST_PARTY), ProtocolSettings("CHEETAH", parties=2)],
    ids=lambda settings: settings.name,
)
def test_a_protocol_that_holds_nothing_twice_cannot_show_it(settings: ProtocolSettings) -> None:
    """One changed bit of a share is another number under SEMI2K and CHEETAH, as README and docstring say."""
    shares = share(np.array([1.0]), settings)
    (word,) = shares[0].words()
    changed = Share(shares[0].meta, ((word ^ np.uint64(1 << 18)).tobytes(),))
    assert abs(reconstruct([changed, shares[1]], settings)[0] - 1.0) == 1.0
