"""`freediv results`: models side by side; ways to run them, in the frame of a survey."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError

if TYPE_CHECKING:
    from ..bench.frame import Way


@click.command()
@click.argument("models", metavar="[MODEL...]", type=click.Path(path_type=Path), nargs=-1)
@click.option("--frame", is_flag=True, help="Ways to run a model: who is trusted, how it is computed, what it costs.")
@click.option(
    "--measured",
    type=click.Path(path_type=Path),
    help="Of --frame: rows that `bench ... --json` wrote of its variants.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def results(models: tuple[Path, ...], frame: bool, measured: Path | None, markdown: bool, as_json: bool) -> None:
    """Models side by side, by their cards: accuracy before and after distillation, secure, cost per layer, training.

    MODEL is a directory, or a card that was put aside. `finetune` and `convert` write the cards; `evaluate --secure DIR
    --card` and `bench model MODEL --card` add to them.

    With --frame: every variant that `bench` knows, what others publish, and each MODEL, which may also be a recipe, in
    the columns of a survey (Li et al. 2025). A card that was put aside says how good the recipe of its name is.

    \b
    Examples: freediv results teacher student-a student-b --markdown
              freediv results --frame configs/recipes/*.yaml configs/recipes/cards/*.md demo --measured rows.json
    """
    if measured is not None and not frame:
        raise UserError("--measured belongs to --frame; add it")
    if frame:
        from ..bench.frame import COLUMNS as FRAME
        from ..bench.frame import cells

        ways = _ways(models, measured)
        if as_json:
            click.echo(json.dumps([one.to_dict() for one in ways], indent=2))
            return
        found = [(one.name, cells(one)) for one in ways]
        for title, columns in FRAME.items():
            _show(title, ("way", *columns), [[name, *own[title]] for name, own in found], markdown)
        return
    if not models:
        raise click.UsageError("Missing argument 'MODEL...'.")
    from ..conversion.cards.comparing import COLUMNS, read_result, rows
    from ..model import resolve_model

    chosen = [(m.stem, m) if m.is_file() else (resolve_model(m).resolve().name, resolve_model(m)) for m in models]
    results = [read_result(name, model) for name, model in chosen]
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in results], indent=2))
        return
    _show("", COLUMNS, rows(results), markdown)


def _ways(models: Sequence[Path], measured: Path | None) -> list[Way]:
    from dataclasses import replace

    from ..bench.frame import measured as with_costs
    from ..bench.frame import of_peers, of_variants, read_rows, way
    from ..conversion.cards.card import own_accuracy, read_card
    from ..conversion.student.recipe import read_recipe
    from ..model import read_model, resolve_model

    rows = [] if measured is None else read_rows(measured)
    aside = {card.stem: read_card(card) for card in models if card.suffix == ".md"}
    found = of_variants(rows)
    for given in models:
        if given.suffix == ".md":
            continue
        if given.suffix in (".yaml", ".yml"):
            recipe = read_recipe(given)
            own, card = way(recipe.name, recipe.all_functions()), aside.get(recipe.name)
        else:
            directory = resolve_model(given)
            architecture = read_model(directory).architecture
            own = way(directory.resolve().name, architecture.functions, embedding=architecture.embedding)
            card = read_card(directory)
        if card is not None:
            cost = card.get("cost") or {}
            own = replace(own, accuracy=str(own_accuracy(card)), headroom_bits=card.get("headroom_bits"))
            if cost:
                about = f"one of its layers, {cost['length']} word pieces"
                own = replace(
                    own, by="its card", of=about, sent_bytes=cost["layer_sent_bytes"], messages=cost["layer_messages"]
                )
        found.append(with_costs(own, rows))
    return found + of_peers()


def _show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> None:
    from ..conversion.cards.card import table

    if markdown:
        click.echo((f"\n## {title}\n\n" if title else "") + table(columns, rows), nl=False)
        return
    from rich.table import Table

    from ..terminal import console

    shown = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*row)
    console().print(shown)
