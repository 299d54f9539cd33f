"""A model runs only where its certificate fits: its owner, the parties and data owners each see to it."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from freediv.cluster.configuration import OwnerConfig, PartyConfig
from freediv.errors import UserError
from freediv.owners import served_model as served
from freediv.owners.model_owner import Offer, load_offer, prepare_offer
from freediv.party.models.model_store import ModelStore
from freediv.party.models.uploads import Uploads
from freediv.wire import protocol_pb2 as pb
from freediv.wire.share_transfer import BadTransfer
from tiny import make_tiny_model

PARTIES = tuple({"rank": rank, "host": "127.0.0.1", "grpc_port": 1} for rank in range(3))


def owner(role: str, **settings: Any) -> OwnerConfig:
    return OwnerConfig(cluster="lab", role=role, parties=PARTIES, **settings)


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Offer:
    """12 bits of headroom with 18 fraction bits, 32 positions."""
    return prepare_offer(make_tiny_model(tmp_path_factory.mktemp("model")))


MISFITS = [({"fraction_bits": 24}, "headroom 12.0 bits .* is 0.0"), ({"fraction_bits": 12}, "too coarse")]
OTHER_OUTPUT = ({"output": "order"}, "output is order, and the model answers one label out of several")


@pytest.mark.parametrize(("settings", "why"), MISFITS)
def test_a_model_owner_is_told_before_anything_is_sent(offer: Offer, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=f"wrong without a sign: .*{why}.*--without-headroom") as refused:
        asyncio.run(load_offer(owner("model-owner", **settings), offer))
    assert "\n" not in str(refused.value)


def test_a_model_owner_is_told_that_the_cluster_reveals_what_the_model_has_not(offer: Offer) -> None:
    settings, why = OTHER_OUTPUT
    with pytest.raises(UserError, match=f"{why}: set output: label or logits in the topology") as refused:
        asyncio.run(load_offer(owner("model-owner", **settings), offer))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("settings", "why"), [*MISFITS, OTHER_OUTPUT])
def test_a_data_owner_does_not_ask_a_model_that_the_cluster_does_not_fit(
    offer: Offer, settings: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model stays where it is when a topology is rendered again with other buckets or bits."""

    async def in_use(*_: Any) -> pb.ModelDescription:
        return pb.ModelDescription(model_id="0" * 32, bundle_sha256=hashlib.sha256(offer.bundle).hexdigest())

    async def bundle(*_: Any) -> bytes:
        return offer.bundle

    monkeypatch.setattr(served, "model_in_use", in_use)
    monkeypatch.setattr(served, "_bundle", bundle)
    monkeypatch.setattr(served, "_read", lambda path: offer.bundle)
    assert asyncio.run(served.fetch_model(owner("data-owner"), [None])).architecture == offer.architecture
    with pytest.raises(UserError, match=f"{why}.*tell the operators"):
        asyncio.run(served.fetch_model(owner("data-owner", **settings), [None]))


@pytest.mark.parametrize(("settings", "why"), [*MISFITS, OTHER_OUTPUT])
def test_a_party_takes_no_model_that_the_cluster_does_not_fit(
    offer: Offer, settings: dict[str, Any], why: str, tmp_path: Path
) -> None:
    def uploads(**settings: Any) -> Uploads:
        config = PartyConfig(
            cluster="lab", rank=0, listen="127.0.0.1", metrics_port=1, store=tmp_path,
            parties=tuple(one | {"link_port": 2} for one in PARTIES), **settings,
        )  # fmt: skip
        return Uploads(config, ModelStore(tmp_path))

    digest = hashlib.sha256(offer.bundle).hexdigest()
    assert uploads()._architecture(offer.bundle, digest) == offer.architecture
    with pytest.raises(BadTransfer, match=why):
        uploads(**settings)._architecture(offer.bundle, digest)


def test_a_risk_that_is_taken_by_name_goes_everywhere(tmp_path: Path) -> None:
    offer = prepare_offer(make_tiny_model(tmp_path, headroom=-3.0), without_headroom=True)
    *_, certificate = served.read_bundle(offer.bundle)
    assert offer.certificate is certificate is None
