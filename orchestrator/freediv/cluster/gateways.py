"""Where the link between parties needs gateways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .addresses import is_loopback

if TYPE_CHECKING:
    from .configuration import Peer


def is_elsewhere(party: Peer) -> bool:
    """Whether its peers reach a party over a network."""
    return not is_loopback(party.link_host or party.host)


def check_gateway(gateway: bool, parties: Sequence[Peer]) -> None:
    """Refuse a link over a network that no gateway guards: SPU would take messages from anybody.

    Raises:
        ValueError: names the key.
    """
    elsewhere = next((party for party in parties if is_elsewhere(party)), None)
    if elsewhere is not None and not gateway:
        host = elsewhere.link_host or elsewhere.host
        raise ValueError(
            f"gateway: party {elsewhere.rank} is at {host}, not on loopback, where SPU's link would take messages from "
            "anybody; remove `gateway: false`, so that each party has a gateway, and render again"
        )
