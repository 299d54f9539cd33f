"""`freediv render`, `up`, `status`, `logs`, `down`, `party`: a cluster's folders and processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError

if TYPE_CHECKING:
    from ..roles.config import PartyConfig
    from ..roles.member import Member
    from ..roles.status import PartyStatus

_DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.command()
@click.argument("topology", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "directory", required=True, type=click.Path(path_type=Path), help="Directory to render into."
)
@click.option(
    "--target",
    type=click.Choice(["folders", "kubernetes"]),
    default="folders",
    show_default=True,
    help="kubernetes: also a manifest for each party.",
)
def render(topology: Path, directory: Path, target: str) -> None:
    """Write a folder for each role of a topology: its configuration, certificate and key.

    Rendering again keeps keys, and renews certificates that end soon.

    \b
    Example:  freediv render configs/local.yaml -o deployment
    """
    from ..render import render as write_folders
    from ..render import render_kubernetes
    from ..topology import read_topology

    write = render_kubernetes if target == "kubernetes" else write_folders
    rendered = write(read_topology(topology), directory)
    for folder in rendered.folders:
        missing = ", whose request.pem is missing (`freediv request`)" if folder in rendered.without_certificate else ""
        click.echo(f"{folder}  for {_reader(folder.name)}{missing}")
    click.echo(f"{directory / 'authority'}  signs certificates: keep it where no role runs")
    for folder in rendered.left_over:
        click.echo(f"{folder}  is of an earlier topology; delete it", err=True)


@click.command()
@_DIRECTORY
def request(directory: Path) -> None:
    """Make a role's private key in its folder, and request.pem, which whoever renders signs by rendering again.

    \b
    Example:  freediv request party-0
    """
    from ..pki import request_certificate
    from ..render import read_any_config
    from ..roles.identity import Role

    path = request_certificate(directory, Role.of(read_any_config(directory)))
    click.echo(f"{path}  is public: send it to whoever renders; key.pem stays here")


@click.command()
@click.option("--local", is_flag=True, help="On this machine, as processes.")
@_DIRECTORY
@click.option("--timeout", default=180.0, show_default=True, help="Seconds to wait for the parties to connect.")
def up(local: bool, directory: Path, timeout: float) -> None:
    """Start the parties of a rendered directory, and wait until they are connected.

    In containers on the hosts of the topology, whose Docker engines it names; or here, as processes.

    \b
    Example:  freediv up --local deployment
    """
    from rich.console import Console

    from ..local import LocalDeployment

    console = Console(stderr=True)
    if not local:
        from ..containers.hosted import HostedDeployment

        hosted = HostedDeployment.open(directory)
        if hosted is None:
            raise UserError(f"{directory}: its topology names no hosts; use --local, or compose/one-host.yaml")
        with console.status("starting the parties") as line:
            hosted.start(timeout, lambda states: line.update(", ".join(f"{h}: {s}" for h, s in states.items())))
        click.echo(f"{len(hosted.parties)} parties are connected; next: freediv load {directory} MODEL")
        return
    deployment = LocalDeployment(directory)
    try:
        deployment.start()
        with console.status("starting the parties") as line:
            deployment.wait_until_linked(timeout, lambda states: line.update(_in_a_line(states)))
    except BaseException:
        deployment.stop()
        raise
    click.echo(f"{len(deployment.parties)} parties are connected; next: freediv load {directory} MODEL")


@click.command()
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(directory: Path, as_json: bool) -> None:
    """Ask all parties what they are at. Exit status 1 unless all are connected with a model loaded.

    DIR is a rendered directory or any one role's folder.

    \b
    Example:  freediv status deployment
    """
    from rich.console import Console
    from rich.table import Table

    from ..render import read_any_config
    from ..roles.status import least_left, party_states

    states = party_states(read_any_config(directory))
    ready = all(state.ready for state in states)
    if as_json:
        click.echo(json.dumps({"ready": ready, "parties": [asdict(state) for state in states]}, indent=2))
    else:
        table = Table("party", "address", "link", "model", "waiting", "restarts", "peak memory", box=None)
        for state in states:
            table.add_row(*_row(state))
        console = Console()
        console.print(table)
        for quota in least_left(states):
            console.print(str(quota), highlight=False)
        for problem in dict.fromkeys(state.problem for state in states if state.problem):
            console.print(f"[yellow]{problem}[/yellow]", highlight=False)
    if not ready:
        raise SystemExit(1)


@click.command()
@_DIRECTORY
def health(directory: Path) -> None:
    """Ask the party of a folder, on its own host, whether it is linked to the others. Exit status 1 if not.

    This is a container's health check.

    \b
    Example:  freediv health deployment/party-0
    """
    from ..roles.config import read_party_config
    from ..roles.status import own_state

    state = own_state(read_party_config(directory))
    if not state.answers:
        raise SystemExit("the party does not answer")
    if not state.link_up:
        raise SystemExit(f"not linked: {state.problem}" if state.problem else "not linked yet; party 0 knows why")
    click.echo("linked")


@click.command()
@_DIRECTORY
@click.option("--party", "rank", type=int, help="Only this party's.")
@click.option("--lines", default=50, show_default=True, help="How many lines of each, from the end.")
def logs(directory: Path, rank: int | None, lines: int) -> None:
    """Print what the parties of a rendered directory logged.

    \b
    Example:  freediv logs deployment --party 0
    """
    from ..containers.hosted import HostedDeployment
    from ..local import LocalDeployment

    hosted = HostedDeployment.open(directory)
    if hosted is not None:
        for name, line in hosted.logs(rank, lines):
            click.echo(f"{name} | {line}")
        return
    parties = [party for party in LocalDeployment(directory).parties if rank is None or party.rank == rank]
    if not parties:
        raise UserError(f"{directory}: there is no party {rank}")
    for party in parties:
        with contextlib.suppress(FileNotFoundError):
            for line in party.log.read_text(errors="replace").splitlines()[-lines:]:
                click.echo(f"party-{party.rank} | {line}")


@click.command()
@_DIRECTORY
@click.option("--volumes", is_flag=True, help="Of hosts: also remove the volumes with keys and weight shares there.")
def down(directory: Path, volumes: bool) -> None:
    """Stop the parties of a rendered directory. Keys and weight shares stay.

    \b
    Example:  freediv down deployment
    """
    from ..containers.hosted import HostedDeployment
    from ..local import LocalDeployment

    hosted = HostedDeployment.open(directory)
    if hosted is not None:
        removed = hosted.stop(volumes=volumes)
        click.echo(f"{removed} containers removed" if removed else "nothing was running")
        return
    stopped = LocalDeployment(directory).stop()
    click.echo(f"{stopped} processes stopped" if stopped else "nothing was running")


@click.command()
@click.option(
    "--config", "path", required=True, type=click.Path(path_type=Path), help="config.yaml of a party's folder."
)
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def party(path: Path, until_stdin_closes: bool) -> None:
    """Run one party until it is told to stop (SIGTERM). This is what a container runs.

    \b
    Example:  freediv party --config deployment/party-0/config.yaml
    """
    from ..monitoring.exporter import Ledger
    from ..roles.config import read_party_config
    from ..roles.party import run_party

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("freediv").setLevel(logging.INFO)
    config = read_party_config(path)
    ledger = Ledger()
    with contextlib.ExitStack() as stack:

        def on_member(member: Member) -> None:
            stack.enter_context(_metrics(config, ledger, member))

        asyncio.run(run_party(config, ledger, on_member=on_member, until_stdin_closes=until_stdin_closes))


@contextlib.contextmanager
def _metrics(config: PartyConfig, ledger: object, member: Member) -> Iterator[None]:
    from importlib.metadata import version

    from ..monitoring.exporter import BuildInfo, Ledger, PartyStatus, serve_metrics

    assert isinstance(ledger, Ledger)
    spu = version("spu")

    def status() -> PartyStatus:
        architecture = member.model.manifest.architecture if member.model is not None else None
        build = BuildInfo.of(architecture, spu=spu, protocol=config.protocol, field=config.field)
        return PartyStatus(
            link_up=member.link_up,
            worker_restarts=member.restarts,
            build=build,
            waiting_requests=len(member.inbox),
            most_waiting=config.limits.waiting_requests,
            budgets_left=member.quotas.budgets_left(member.model.manifest.model_id) if member.model is not None else (),
        )

    with serve_metrics(ledger, status, host=config.metrics_listen or config.listen, port=config.metrics_port):
        yield


def _reader(folder: str) -> str:
    if folder == "monitoring":
        return "Prometheus: where it finds the parties"
    if folder.startswith("party-"):
        return f"the host of party {folder.removeprefix('party-')}"
    return f"the {folder.replace('-owner', ' owner').replace('owner-', 'owner ')}"


def _in_a_line(states: list[PartyStatus]) -> str:
    waiting = [str(state.rank) for state in states if not state.answers]
    return f"waiting for party {' and '.join(waiting)}" if waiting else "connecting the parties"


def _row(state: PartyStatus) -> tuple[str, ...]:
    if not state.answers:
        return (str(state.rank), state.address, "[red]no answer[/red]", "", "", "", "")
    link = "[green]up[/green]" if state.link_up else "[red]down[/red]"
    model = state.model_id[:8] if state.model_id else "none"
    if state.model_id and not state.ready:
        model += f" (loading, {100 * state.loading:.0f} %)" if state.link_up else " (not loaded)"
    memory = f"{state.peak_memory_bytes / 2**20:.0f} MiB"
    numbers = (str(state.waiting_requests), str(state.worker_restarts), memory)
    return (str(state.rank), state.address, link, model, *numbers)
