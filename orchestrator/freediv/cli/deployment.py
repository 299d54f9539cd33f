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
    from rich.text import Text

    from ..cluster.configuration import PartyConfig
    from ..party.member import Member
    from ..wire.status import PartyStatus

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
    from ..cluster.topology import read_topology
    from ..deploy.render import render as write_folders
    from ..deploy.render import render_kubernetes

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
    from ..cluster.certificates import request_certificate
    from ..cluster.folders import read_any_config
    from ..cluster.identity import Role

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

    from ..deploy.local import LocalDeployment
    from ..interrupts import noted_interrupts
    from ..terminal import status_line

    if not local:
        from ..deploy.containers.hosted import HostedDeployment

        hosted = HostedDeployment.open(directory)
        if hosted is None:
            raise UserError(f"{directory}: its topology names no hosts; use --local, or compose/one-host.yaml")
        try:
            with status_line("starting the parties") as show:
                hosted.start(timeout, lambda states: show(", ".join(f"{h}: {s}" for h, s in states.items())))
        except KeyboardInterrupt:
            with noted_interrupts():
                hosted.stop(volumes=False)
            raise
        click.echo(f"{len(hosted.parties)} parties are connected; next: freediv load {directory} MODEL")
        return
    deployment = LocalDeployment(directory)
    with noted_interrupts() as interrupts, status_line("starting the parties") as show:
        try:
            deployment.start()
            interrupts.run(
                lambda: deployment.wait_until_linked(timeout, lambda states: show(_in_a_line(states))), deployment.stop
            )
        except BaseException:
            deployment.stop()
            raise
    click.echo(f"{len(deployment.parties)} parties are connected; next: freediv load {directory} MODEL")


@click.command()
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(directory: Path, as_json: bool) -> None:
    """Ask all parties what they are at. Exit status 1 unless all are connected with a model loaded.

    DIR is a rendered directory or any one role's folder. Parties tell each role what concerns it: requests, memory and
    everybody's quotas to operators only.

    \b
    Example:  freediv status deployment
    """
    from rich.table import Table

    from ..cluster.folders import read_any_config
    from ..terminal import console
    from ..wire.status import least_left, party_states

    config = read_any_config(directory)
    states, operator = party_states(config), config.role == "party"
    ready = all(state.ready for state in states)
    if as_json:
        hidden = () if operator else _OPERATORS
        told = [{name: one for name, one in asdict(state).items() if name not in hidden} for state in states]
        click.echo(json.dumps({"ready": ready, "parties": told}, indent=2))
    else:
        columns = ("party", "address", "link", "model", "waiting", "restarts", "peak memory")
        table = Table(*columns[: None if operator else 4], box=None)
        for state in states:
            table.add_row(*_row(state)[: len(table.columns)])
        out = console()
        out.print(table)
        for quota in least_left(states):
            out.print(str(quota))
        for problem in dict.fromkeys(state.problem for state in states if state.problem):
            out.print(problem, style="yellow")
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
    from ..cluster.configuration import read_party_config
    from ..wire.status import own_state

    state = own_state(read_party_config(directory))
    if not state.answers:
        raise SystemExit("the party does not answer")
    if not state.link_up:
        raise SystemExit(f"not linked: {state.problem}" if state.problem else "not linked yet; party 0 knows why")
    click.echo("linked")


@click.command()
@_DIRECTORY
@click.option("--party", "rank", type=int, help="Only this party's.")
@click.option(
    "--lines", default=50, show_default=True, type=click.IntRange(1), help="How many lines of each, from the end."
)
def logs(directory: Path, rank: int | None, lines: int) -> None:
    """Print what the parties of a rendered directory logged.

    \b
    Example:  freediv logs deployment --party 0
    """
    from ..deploy.containers.hosted import HostedDeployment
    from ..deploy.local import LocalDeployment

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
            for line in party.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]:
                click.echo(f"party-{party.rank} | {line}")


@click.command()
@_DIRECTORY
@click.option("--volumes", is_flag=True, help="Of hosts: also remove the volumes with keys and weight shares there.")
def down(directory: Path, volumes: bool) -> None:
    """Stop the parties of a rendered directory. Keys and weight shares stay.

    \b
    Example:  freediv down deployment
    """
    from ..deploy.containers.hosted import HostedDeployment
    from ..deploy.local import LocalDeployment

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
@click.option("--gateway", "with_gateway", is_flag=True, help="Run its gateway too (HAProxy), where no container does.")
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
def party(path: Path, with_gateway: bool, until_stdin_closes: bool) -> None:
    """Run one party until it is told to stop (SIGTERM). This is what a container runs.

    \b
    Example:  freediv party --config deployment/party-0/config.yaml
    """
    from ..cluster.configuration import read_party_config
    from ..deploy.local_gateway import local_gateway
    from ..monitoring.exporter import Ledger
    from ..party.server import run_party

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("freediv").setLevel(logging.INFO)
    config = read_party_config(path)
    ledger = Ledger()
    if with_gateway and not config.gateway:
        raise UserError(f"{path}: the parties are on one machine, and have no gateways")
    with contextlib.ExitStack() as stack:
        gateway = None
        if with_gateway:
            gateway, config = stack.enter_context(local_gateway(config))

        def on_member(member: Member) -> None:
            stack.enter_context(_metrics(config, ledger, member))

        try:
            asyncio.run(
                run_party(config, ledger, on_member=on_member, gateway=gateway, until_stdin_closes=until_stdin_closes)
            )
        except UserError:
            raise
        except Exception:
            logging.getLogger("freediv").exception("party %d ends", config.rank)
            raise


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
            budgets_left=member.quotas.budgets_left(member.model.digest) if member.model is not None else (),
        )

    with serve_metrics(ledger, status, host=config.metrics_listen or config.listen, port=config.metrics_port):
        yield


_OPERATORS = (
    "epoch", "waiting_requests", "computing", "worker_restarts", "peak_memory_bytes", "memory_bytes", "worker_pid",
)  # fmt: skip
"""What a party tells of itself to parties only."""


def _reader(folder: str) -> str:
    if folder == "monitoring":
        return "Prometheus: where it finds the parties"
    if folder.startswith("party-"):
        return f"the host of party {folder.removeprefix('party-')}"
    return f"the {folder.replace('-owner', ' owner').replace('owner-', 'owner ')}"


def _in_a_line(states: list[PartyStatus]) -> str:
    waiting = [str(state.rank) for state in states if not state.answers]
    return f"waiting for party {' and '.join(waiting)}" if waiting else "connecting the parties"


def _row(state: PartyStatus) -> tuple[str | Text, ...]:
    from rich.text import Text

    if not state.answers:
        return (str(state.rank), state.address, Text("no answer", style="red"), "", "", "", "")
    link = Text("up", style="green") if state.link_up else Text("down", style="red")
    model = state.model_id[:8] if state.model_id else "none"
    if state.model_id and not state.ready:
        model += f" (loading, {100 * state.loading:.0f} %)" if state.link_up else " (not loaded)"
    memory = f"{state.peak_memory_bytes / 2**20:.0f} MiB"
    numbers = (str(state.waiting_requests), str(state.worker_restarts), memory)
    return (str(state.rank), state.address, link, model, *numbers)
