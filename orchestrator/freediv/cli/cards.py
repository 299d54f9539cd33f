"""`freediv results`: models side by side."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("models", metavar="MODEL...", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def results(models: tuple[Path, ...], markdown: bool, as_json: bool) -> None:
    """Models side by side, by their cards: accuracy before and after distillation, secure, cost per layer, training.

    MODEL is a directory, or a card that was put aside. `finetune` and `convert` write the cards; `evaluate --secure DIR
    --card` and `bench model MODEL --card` add to them.

    \b
    Example:  freediv results teacher student-a student-b --markdown
    """
    from ..conversion.cards.card import table
    from ..conversion.cards.comparing import COLUMNS, read_result, rows
    from ..model import resolve_model

    chosen = [(m.stem, m) if m.is_file() else (resolve_model(m).resolve().name, resolve_model(m)) for m in models]
    found = [read_result(name, model) for name, model in chosen]
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in found], indent=2))
        return
    if markdown:
        click.echo(table(COLUMNS, rows(found)), nl=False)
        return
    from rich.table import Table

    from ..terminal import console

    shown = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows(found):
        shown.add_row(*row)
    console().print(shown)
