"""`freediv chaos`: what happens when something dies."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..errors import UserError


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--fault", "faults", multiple=True, help="Only this one, such as kill-worker; may be repeated.")
@click.option("--times", default=1, show_default=True, type=click.IntRange(1, 1000), help="How often each.")
@click.option("--model", default="demo", show_default=True, help="What the parties serve; loaded again after damage.")
@click.option(
    "--stop-seconds", "stop_s", default=30.0, show_default=True, help="For how long a party is made to stand still."
)
@click.option(
    "--patience",
    "patience_s",
    default=240.0,
    show_default=True,
    help="Seconds after which a request without an answer is lost.",
)
@click.option(
    "--prometheus",
    default="http://127.0.0.1:9090",
    show_default=True,
    help="The Prometheus that watches the parties, where one does.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table in Markdown.")
def chaos(
    directory: Path,
    faults: tuple[str, ...],
    times: int,
    model: str,
    stop_s: float,
    patience_s: float,
    prometheus: str,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Break a deployment of yours on this machine, one fault after another, while two data owners go on asking.

    DIR is a rendered directory whose parties `freediv up --local` started and that serve a model. Its processes are
    killed and stopped, its stored shares damaged and loaded again: whoever else uses it meanwhile is refused now and
    then. All parties run in the end.

    `told`: after how many seconds, at most, a client knew why there is no answer. `back`: seconds from the repair, or
    from the fault where it needs none, to the next right answer. Exit status 1 if an answer was wrong, a request lost,
    or something left behind.

    `--fault deviate`, which has to be named, has one party favour the first label: it shows what owners get of a party
    that is not semi-honest (wrong answers), and that nobody notices. What such a party makes of a model:
    `freediv audit`.

    \b
    Example:  freediv up --local deployment && freediv load deployment demo
              freediv chaos deployment --times 3
    """
    from ..chaos import Rehearsal, Scene, faults_named
    from ..chaos.table import markdown, print_rows
    from ..cluster.folders import owner_folder
    from ..deploy.demonstration import read_sentences
    from ..terminal import console, status_line

    chosen = faults_named(faults)
    data_owners = tuple(sorted(path.parent for path in directory.glob("data-owner*/config.yaml")))
    if not data_owners:
        raise UserError(f"{directory}: holds no data owner's folder; give a rendered directory")
    owners = (owner_folder(directory, "model-owner"), data_owners)
    with status_line("asking for the right answers") as show:
        rehearsal = Rehearsal(
            Scene(directory),
            owners,
            model,
            read_sentences()[0],
            patience_s=patience_s,
            stop_s=stop_s,
            prometheus=prometheus,
        )
        rows = list(rehearsal.run(chosen, times, show))
    if as_json:
        click.echo(json.dumps([row.to_dict() for row in rows], indent=2))
    elif as_markdown:
        click.echo(markdown(rows))
    else:
        print_rows(rows, console())
    if not all(row.passed for row in rows):
        raise SystemExit(1)
