"""The door's description of itself, and whatever may be sent by it: nothing is unforeseen, all is as described."""

from __future__ import annotations

from html.parser import HTMLParser

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import DoorProcess

MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
FEW = settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def test_what_fits_the_description_and_what_does_not_is_answered_as_described(door: DoorProcess) -> None:
    described = schemathesis.openapi.from_url(f"{door.address}/openapi.json")
    asked: set[int] = set()
    for found in described.get_all_operations():
        for mode in MODES:
            if mode is schemathesis.GenerationMode.NEGATIVE and found.ok().method == "get":
                continue  # there is nothing to get wrong

            @FEW
            @given(case=found.ok().as_strategy(generation_mode=mode))
            def holds(case: schemathesis.Case) -> None:
                response = case.call()
                asked.add(response.status_code)
                assert response.status_code < 500, response.text
                case.validate_response(response, checks=CHECKS)

            holds()
    assert {200, 422, 424} <= asked
    assert door.is_well()


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value is not None]


def test_the_pages_of_the_description_come_from_the_door_alone(door: DoorProcess) -> None:
    page = door.get("/docs")
    assert page.status_code == 200
    addresses = _Addresses()
    addresses.feed(page.text)
    assert len(addresses.found) == 3
    for address in addresses.found:
        assert "//" not in address
        assert door.get(f"/{address}").status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
