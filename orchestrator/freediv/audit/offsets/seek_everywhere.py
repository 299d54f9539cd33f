"""SEEK against a hybrid protocol, against a three-party deployment as its data owner, and with a deviating party."""

from __future__ import annotations

from collections.abc import Sequence

from ...model import Model
from ...mpc.sharing.settings import ProtocolSettings
from ...progress import Meter
from ..finding import Finding, columns, percent
from .deviation import DeviatingParty
from .handles import Handles, try_handles
from .hybrid import Handle, HybridClient, Network, make_network
from .seek import StolenLayer, copy_agreement, error, steal

WIDTHS = (64, 32, 32, 16, 10)
"""Of the network that is stolen."""
_ASKED = 10_000
"""Random inputs on which the stolen network is compared with the other."""


def run(model: Model, *, seed: int, widths: Sequence[int] = WIDTHS) -> Finding:
    """Steal a network through a simulated hybrid protocol and through a deviating party, and try the same script as the
    data owner of a deployment that serves `model`.

    Args:
        model: the user's, whose inputs decide what a data owner may send.
        seed: of the network, of masks and of what it is compared on.
        widths: of the network's input and of each layer's output.
    """
    network = make_network(widths, ProtocolSettings().fraction_bits, seed)
    hybrid = HybridClient(network, seed + 1)
    stolen = {"hybrid": _steal(hybrid, "seek: hybrid protocol")}
    handles = try_handles(model)
    with DeviatingParty(network, seed + 2) as parties:
        stolen["deviating"] = _steal(parties, "seek: deviating party")
    return _finding(network, stolen, handles, parties, seed)


def _steal(handle: Handle, task: str) -> tuple[StolenLayer, ...]:
    with Meter(task, len(handle.widths) - 1) as meter:
        return steal(handle, meter.update)


def _finding(
    network: Network,
    stolen: dict[str, tuple[StolenLayer, ...]],
    handles: Handles,
    parties: DeviatingParty,
    seed: int,
) -> Finding:
    same = {name: copy_agreement(layers, network, _ASKED, seed + 3) for name, layers in stolen.items()}
    rows = []
    for layer, (hybrid, deviating) in enumerate(zip(stolen["hybrid"], stolen["deviating"], strict=True)):
        size = " to ".join(map(str, network.widths[layer : layer + 2]))
        cells = [
            (f"{own.queries_per_parameter:.1f}", _small(error(own, network, layer))) for own in (hybrid, deviating)
        ]
        rows.append((f"{layer + 1}: {size}", *cells[0], *cells[1]))
    measured: dict[str, object] = {
        name: {
            "queries": sum(own.queries for own in layers),
            "parameters": sum(own.parameters for own in layers),
            "queries_per_parameter": [own.queries_per_parameter for own in layers],
            "error": [error(own, network, layer) for layer, own in enumerate(layers)],
            "agreement": same[name],
        }
        for name, layers in stolen.items()
    }
    measured["data_owner"] = {"tried": handles.tried, "passed": handles.passed, "sound": handles.sound}
    measured["deviating_party"] = {"queries": parties.queries, "noticed": parties.noticed}
    told = "no handle" if not handles.passed else f"{handles.passed} PASSED"
    return Finding(
        name="seek",
        title="SEEK: offsets around non-linear layers",
        source="SEEK: Chen et al., 2022 (arXiv 2209.06373), reconstructed",
        tried=f"A network of {' - '.join(map(str, network.widths))} with random weights, labels alone. First through a "
        "hybrid protocol of two parties, whose client holds a share of every value between layers; then through three "
        "parties, of which one adds what a data owner asks it to.",
        header=("layer", "hybrid: queries a parameter", "error", "one party deviates: queries a parameter", "error"),
        rows=columns(rows),
        lines=(
            f"Hybrid protocol: {sum(own.queries for own in stolen['hybrid']):,} queries; the stolen network gives the "
            f"label of the other for {percent(same['hybrid'])} of {_ASKED:,} random inputs.",
            f"Three parties, as a data owner of this model: {handles.tried} ways to an offset tried, {told}.",
            f"Three parties, one of which deviates: {percent(same['deviating'])} of the same inputs; of "
            f"{parties.queries:,} queries with offsets {parties.noticed} were noticed.",
        ),
        advice="A data owner alone has no handle. In league with one party that deviates it has, and nothing shows it: "
        "give parties to operators whom no data owner can win, and data owners a budget (`quota`) that is far smaller.",
        measured=measured,
    )


def _small(value: float) -> str:
    return "0" if value == 0 else percent(value, 3)
