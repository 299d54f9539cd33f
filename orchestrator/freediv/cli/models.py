"""`freediv models` and `rollback`: which models the parties keep, and going back to an earlier one."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..wire.status import PartyStatus, StoredModel

_DIRECTORY = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.command()
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(directory: Path, as_json: bool) -> None:
    """List the models that the parties keep on their disks: the one in use, and those before it.

    DIR is a rendered directory or any one role's folder.

    \b
    Example:  freediv models deployment
    """
    from rich.table import Table

    from ..cluster.folders import read_any_config
    from ..terminal import console
    from ..wire.status import party_states

    states = party_states(read_any_config(directory))
    found = [(one, _use(one.model_id, states), _holders(one.model_id, states)) for one in _all(states)]
    if as_json:
        entries = [asdict(one) | {"use": use, "parties": ranks} for one, use, ranks in found]
        click.echo(json.dumps(entries, indent=2))
        return
    table = Table("model", "", "uploaded", "parties", "architecture", box=None, header_style="")
    for one, use, ranks in found:
        uploaded = datetime.fromtimestamp(one.uploaded).astimezone()
        about = f"{one.about}; budgets began anew" if one.fresh_budget else one.about
        table.add_row(one.model_id, use, f"{uploaded:%Y-%m-%d %H:%M}", " ".join(map(str, ranks)), about)
    out = console()
    out.print(table if found else "the parties have no model; load one with `freediv load`")
    for problem in dict.fromkeys(state.problem for state in states if state.problem):
        out.print(problem, style="yellow")


@click.command()
@_DIRECTORY
@click.option("--to", "model_id", help="Which model, or the beginning of its id.  [default: the one before]")
def rollback(directory: Path, model_id: str | None) -> None:
    """Have all parties switch back to the model that was in use before, which they still keep: nothing is uploaded.

    DIR is a rendered directory or the model owner's folder.

    \b
    Example:  freediv rollback deployment
    """
    from ..cluster.folders import owner_folder
    from ..owners.model_owner import rollback as switch_back
    from .inference import progress_bar

    folder = owner_folder(directory, "model-owner")
    with progress_bar() as advance:
        model = switch_back(folder, model_id, on_progress=advance)
    click.echo(f"all parties serve model {model.model_id} again ({model.about})")


def _all(states: list[PartyStatus]) -> list[StoredModel]:
    """In the order of party 0, which decides on the model in use."""
    return list({one.model_id: one for state in reversed(states) for one in reversed(state.stored)}.values())[::-1]


def _use(model_id: str, states: list[PartyStatus]) -> str:
    return "in use" if any(state.model_id == model_id for state in states) else "kept"


def _holders(model_id: str, states: list[PartyStatus]) -> list[int]:
    return [state.rank for state in states if any(one.model_id == model_id for one in state.stored)]
