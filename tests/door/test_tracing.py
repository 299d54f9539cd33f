"""Spans of a request: one trace through the door and all parties, without a text and without an owner."""

from __future__ import annotations

from deployment.conftest import wait_for
from tiny import SENTENCES

from .conftest import Collector, DoorProcess


def test_a_request_is_one_trace_through_the_door_all_parties_and_their_coordinator(
    collector: Collector, door: DoorProcess
) -> None:
    response = door.post("/predict", {"inputs": SENTENCES[0]}, headers={"x-request-id": "traced-1"})
    assert response.status_code == 200

    def trace() -> list[tuple[str, str]]:
        """Service and name of the spans of its trace."""
        spans = list(collector.spans())
        for service, one in spans:
            if any(a.key == "request_id" and a.value.string_value == "traced-1" for a in one.attributes):
                assert service == "freediv-door"
                return sorted((whose, other.name) for whose, other in spans if other.trace_id == one.trace_id)
        return []

    wanted = sorted(
        [("freediv-door", "/predict")]
        + [(f"freediv-party-{rank}", "party") for rank in range(3)]
        + 3 * [("freediv-party-0", "coordinator")]  # which hears from each party that it has all shares
    )
    wait_for(lambda: trace() == wanted, "its spans")
    content = b"".join(collector.received)
    assert b"alice" not in content
    assert b"warm" not in content
    assert b"positive" not in content
