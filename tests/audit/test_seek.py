"""SEEK: what offsets around non-linear layers give, and that a data owner of three parties has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from freediv.audit.offsets.deviation import DeviatingParty
from freediv.audit.offsets.handles import try_handles
from freediv.audit.offsets.hybrid import HybridClient, make_network, of_numbers, plain_labels
from freediv.audit.offsets.seek import copy_agreement, error, steal
from freediv.audit.offsets.seek_everywhere import run
from tiny import model

WIDTHS = (24, 12, 8, 4)
NETWORK = make_network(WIDTHS, 18, 0)


def quiet(count: int) -> list[np.ndarray]:
    return [np.zeros((count, width), np.uint64) for width in WIDTHS[1:]]


def ring(x: np.ndarray) -> np.ndarray:
    return np.rint(x * 2.0**18).astype(np.int64).view(np.uint64)


class Unmoved(HybridClient):
    """Somebody who asks, and whose offsets go nowhere."""

    def ask(self, x: np.ndarray, before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> np.ndarray:
        return super().ask(x, quiet(len(x)), quiet(len(x)))


def test_an_honest_client_gets_the_networks_labels() -> None:
    x = np.random.default_rng(1).normal(size=(500, WIDTHS[0]))
    wanted = plain_labels(NETWORK, x)
    assert len(np.unique(wanted)) > 1
    assert (HybridClient(NETWORK, 2).ask(ring(x), quiet(500), quiet(500)) == wanted).mean() > 0.99
    with DeviatingParty(NETWORK, 3) as parties:
        assert (parties.ask(ring(x), quiet(500), quiet(500)) == wanted).mean() > 0.99


def test_an_offset_before_a_rectifier_is_one_to_its_bias() -> None:
    x = np.random.default_rng(1).normal(size=(200, WIDTHS[0]))
    offsets = np.random.default_rng(2).normal(size=WIDTHS[1])
    layers = [NETWORK.numbers(layer) for layer in range(3)]
    moved = of_numbers([(layers[0][0], layers[0][1] + offsets), *layers[1:]], 18)
    before = quiet(200)
    before[0] = np.broadcast_to(ring(offsets), (200, WIDTHS[1]))
    wanted = plain_labels(moved, x)
    assert (wanted != plain_labels(NETWORK, x)).any()
    for handle in (HybridClient(NETWORK, 2), DeviatingParty(NETWORK, 3)):
        assert (handle.ask(ring(x), before, quiet(200)) == wanted).mean() > 0.98


@pytest.mark.parametrize("kind", [HybridClient, DeviatingParty])
def test_all_weights_are_stolen_in_less_than_fifty_queries_each(kind: Any) -> None:
    handle = kind(NETWORK, 1)
    stolen = steal(handle)
    for layer, own in enumerate(stolen):
        assert own.queries_per_parameter < 50
        assert error(own, NETWORK, layer) < 3e-4
    for layer, own in enumerate(stolen[:-1]):
        np.testing.assert_allclose(own.biases, NETWORK.numbers(layer)[1], atol=1e-2)
    assert sum(own.queries for own in stolen) == handle.queries
    assert copy_agreement(stolen, NETWORK, 2000, 5) > 0.99
    assert getattr(handle, "noticed", 0) == 0


def test_without_offsets_there_is_nothing_to_bisect() -> None:
    with pytest.raises(RuntimeError, match="beyond"):
        steal(Unmoved(NETWORK, 1))


@pytest.mark.parametrize("embedding", ["secret", "public"])
def test_a_data_owner_of_three_parties_has_no_handle(embedding: str) -> None:
    found = try_handles(model(embedding=embedding))
    assert found.sound
    assert found.tried > 10
    assert found.passed == 0


def test_the_page_has_what_was_measured() -> None:
    found = run(model(), seed=0, widths=WIDTHS)
    assert len(found.rows) == len(WIDTHS) - 1
    assert found.measured["hybrid"]["agreement"] > 0.99  # type: ignore[index]
    assert "no handle" in "".join(found.lines)
    assert found.to_dict()["measured"] == run(model(), seed=0, widths=WIDTHS).measured | {
        "deviating": found.measured["deviating"]  # truncations round at random
    }
