"""Many callers at once, by a load generator that nobody here wrote: nothing is lost, nothing wrong."""

from __future__ import annotations

from deployment.conftest import Cluster
from tiny import SENTENCES

from .load import bear


def test_many_callers_lose_nothing(cluster: Cluster) -> None:
    borne = bear(cluster.folder("data-owner-alice"), callers=32, seconds=4, texts=list(SENTENCES))
    assert borne.failed == 0
    assert borne.answered >= 32
    assert borne.own_seconds < borne.seconds
