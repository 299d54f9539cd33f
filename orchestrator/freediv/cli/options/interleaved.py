"""What all interleaved runs of `freediv bench` have in common: their options, and what those say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ...errors import UserError
from ...mpc.sharing.settings import Products, Protocol

if TYPE_CHECKING:
    from ...bench.network import Network


def interleaved(command: Any) -> Any:
    """Of a command that runs variants in turn."""
    for option in reversed(
        (
            click.option("--length", default=128, show_default=True, help="Word pieces."),
            click.option("--batch", default=1, show_default=True, help="Sentences in a request."),
            click.option("--protocol", type=click.Choice(get_args(Protocol)), default="ABY3", show_default=True),
            click.option("--repeats", default=3, show_default=True, help="Counted runs of each variant."),
            click.option("--threads", default=1, show_default=True, help="Threads of each party."),
            click.option(
                "--products",
                type=click.Choice(["as-published", *get_args(Products)]),
                default="as-published",
                show_default=True,
                help="Which engine multiplies matrices; as published: SPU for peers, shares for ours. spu-blocks: SPU, "
                "all heads in one product.",
            ),
            click.option(
                "--lanes",
                default="1",
                show_default=True,
                help="Parts that a batch is computed in side by side (products on shares); by commas, to compare.",
            ),
            click.option(
                "--network",
                default="loopback",
                show_default=True,
                help="Also lan (5 Gbit/s, 0.4 ms), lab (1 Gbit/s, 1 ms), wan (400 Mbit/s, 40 ms); by commas.",
            ),
            click.option("--bandwidth", type=float, help="Mbit/s of each party, in place of the network's."),
            click.option("--rtt", type=float, help="Round-trip time in ms, in place of the network's."),
            click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the rows to a file."),
            click.option("--chart", type=click.Path(path_type=Path), help="Draw the rows (.svg or .png)."),
        )
    ):
        command = option(command)
    return command


def lanes_of(counts: str, batch: int) -> list[int]:
    """What --lanes says.

    Raises:
        UserError: that is no list of numbers, or one is of more lanes than sentences.
    """
    found = [int(count) for count in counts.split(",") if count.isdecimal()]
    if len(found) < len(counts.split(",")) or not all(1 <= count <= batch for count in found):
        raise UserError(f"--lanes {counts}: numbers from 1 to the batch's {batch} sentences, separated by commas")
    return found


def networks_of(names: str, bandwidth: float | None, rtt: float | None) -> list[Network]:
    """What --network, --bandwidth and --rtt say, without loopback.

    Raises:
        UserError: a network is not known, or has no bandwidth.
    """
    from ...bench.network import NETWORKS, Network

    chosen = [name for name in names.split(",") if name != "loopback"]
    for name in chosen:
        if name not in NETWORKS:
            raise UserError(f"--network: there is no {name!r}; known: loopback, {', '.join(NETWORKS)}")
    if bandwidth is None and rtt is None:
        return [NETWORKS[name] for name in chosen]
    if (bandwidth is not None and bandwidth <= 0) or (rtt is not None and rtt < 0):
        raise UserError("--bandwidth has to be above 0, and --rtt not below")
    return [
        Network(
            name if chosen else "shaped",
            NETWORKS[name].bandwidth if bandwidth is None else bandwidth * 1e6,
            NETWORKS[name].rtt if rtt is None else rtt / 1e3,
        )
        for name in chosen or ["lan"]
    ]
