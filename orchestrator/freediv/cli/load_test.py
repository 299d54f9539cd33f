"""`freediv load-test`: many data owners at once."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError

if TYPE_CHECKING:
    from ..bench.load import Load


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)?", value)
    if found is None:
        raise click.BadParameter("give a number with s, m or h, such as 10m")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2] or "s"]


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--owners", default=4, show_default=True, help="Data owners that ask at the same time.")
@click.option("--requests", type=int, help="Requests of each, one after another.  [default: 10]")
@click.option("--duration", callback=_duration, help="Ask for so long, in place of --requests, such as 10m.")
@click.option("--sentences", default=1, show_default=True, help="Sentences of a request.")
@click.option("--length", type=int, help="Word pieces of a sentence: a bucket.  [default: the one nearest to 32]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--chart", type=click.Path(path_type=Path), help="Draw latencies and memory (.svg or .png).")
def load_test(
    directory: Path,
    owners: int,
    requests: int | None,
    duration: float | None,
    sentences: int,
    length: int | None,
    as_json: bool,
    chart: Path | None,
) -> None:
    """Have many data owners ask a running deployment at once; every answer is compared with the one it gets alone.

    DIR is a rendered directory, whose data owners ask in turn, or the folder of one, who is not told the parties'
    memory. Exit status 1 if a request was answered wrongly or not at all.

    \b
    Example:  freediv load-test deployment --owners 8 --duration 10m --chart load.svg
    """
    from ..bench.load import run_load
    from ..cluster.configuration import PartyConfig
    from ..cluster.folders import owner_folders, read_any_config
    from ..deploy.demonstration import read_sentences
    from .inference import progress_bar
    from .options.charts import opened_chart

    if min(owners, sentences, requests or 1, length or 1) < 1:
        raise UserError("--owners, --requests, --sentences and --length are at least 1")
    with opened_chart(chart) as picture:
        with progress_bar() as advance:
            load = asyncio.run(
                run_load(
                    owner_folders(directory, "data-owner"),
                    read_sentences()[0],
                    owners=owners,
                    requests=requests if requests is not None or duration is not None else 10,
                    seconds=duration,
                    sentences=sentences,
                    length=length,
                    operator=config if isinstance(config := read_any_config(directory), PartyConfig) else None,
                    on_progress=advance,
                )
            )
        if as_json:
            click.echo(json.dumps(load.to_dict(), indent=2))
        else:
            _show(load)
        if picture is not None:
            from ..bench.load_chart import draw

            draw(load, _title(load), picture)
            click.echo(f"chart: {picture.path.resolve()}", err=as_json)
    if load.wrong or load.errors:
        raise SystemExit(1)


def _title(load: Load) -> str:
    shared = "" if load.identities == load.owners else f" (with {load.identities} certificates)"
    return f"{load.owners} data owners{shared}, sentences of {load.length} word pieces, {load.seconds:.0f} s"


def _show(load: Load) -> None:
    from rich.table import Table

    from ..terminal import console

    found: dict[str, Any] = load.to_dict()
    out = console()
    out.print(_title(load))
    errors = sum(load.errors.values())
    told = f"{len(load.replies)} requests answered, {load.wrong} of them wrongly; {errors} not answered"
    out.print(f"{told}; {load.sent_away} times sent away from a full queue, and back")
    rates = f"{found['requests_per_second']:.2f} requests/s, {found['sentences_per_second']:.2f} sentences/s"
    out.print(f"{rates}, {found['requests_per_run']:.2f} requests to a run")
    latency = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found["latency_seconds"].items())
    out.print(f"latency: {latency}")
    for reason, count in load.errors.most_common():
        out.print(f"{count} times: {reason}", style="red")
    table = Table("party", "MiB at start", "at end", "MiB/hour", box=None, header_style="")
    for party in found["parties"]:
        mebibytes = (party["memory_at_start"], party["memory_at_end"], party["bytes_per_hour"])
        table.add_row(str(party["rank"]), *(f"{value / 2**20:,.0f}" for value in mebibytes))
    if found["parties"]:
        out.print(table)
