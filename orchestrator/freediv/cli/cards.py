"""`freediv results`: models side by side; ways to run them, in the frame of a survey. `sensitivity`: what could be
chosen in a teacher, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from ..files import opened_output, require_distinct
from .options.budgets import choose_by, measured
from .options.charts import opened_chart
from .options.columns import text_columns

if TYPE_CHECKING:
    from ..conversion.student.budget import Criterion

_PATH = click.Path(path_type=Path)
_SLOTS = ("attention", "activation", "attention_norm", "feed_forward_norm", "heads", "intermediate", "pool")


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
        from ..bench.frame import cells, of_models, of_peers, of_variants, read_rows

        costs = [] if measured is None else read_rows(measured)
        ways = [*of_variants(costs), *of_models(models, costs), *of_peers()]
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
    told = [read_result(name, model) for name, model in chosen]
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in told], indent=2))
        return
    _show("", COLUMNS, rows(told), markdown)


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


@click.command()
@click.argument("teacher", metavar="TEACHER")
@click.option(
    "--data",
    type=_PATH,
    required=True,
    help="Texts: a line each (.txt), or columns (.tsv, .csv, .jsonl).",
)
@text_columns
@click.option("--rows", type=click.IntRange(8), default=128, show_default=True, help="Texts, drawn at random.")
@click.option("--slot", "slots", type=click.Choice(_SLOTS), multiple=True, help="This one alone; may be repeated.")
@click.option("--length", type=click.IntRange(8), default=32, show_default=True, help="Word pieces, of the costs.")
@click.option("--costs/--no-costs", default=True, show_default=True, help="Run a layer with each choice, too.")
@click.option(
    "--budget", metavar="'N MB|messages|seconds'", help="Of one party in all layers: write a --recipe for it."
)
@choose_by
@measured
@click.option("--recipe", type=_PATH, help="With --budget: the recipe, an ordinary YAML file.")
@click.option("--json", "json_file", type=_PATH, help="Write the rows to a file.")
@click.option("--chart", type=_PATH, help="Draw the rows (.svg or .png).")
def sensitivity(
    teacher: str,
    data: Path,
    text_columns: tuple[str, ...],
    rows: int,
    slots: tuple[str, ...],
    length: int,
    costs: bool,
    budget: str | None,
    criterion: Criterion,
    measured: Path | None,
    recipe: Path | None,
    json_file: Path | None,
    chart: Path | None,
) -> None:
    """Measure what each layer of a teacher loses by each choice that a recipe has for it, before any training.

    For every function that the registries have, half and a quarter of the heads and neurons, and pooled rows: decibels
    between what a block reads and what it leaves (Kim et al. 2024), and how far the answers diverge where one layer
    alone has it. Beside it what a layer costs that has it, in one request, all else as in the default student. With
    --budget the choices that lose least for what they save are a recipe for `freediv convert`, which has the same
    option.

    \b
    Examples:
      freediv sensitivity teacher --data train.tsv --slot activation --slot pool --json sensitivity.json
      freediv sensitivity teacher --data train.tsv --length 128 --budget "60 MB" --recipe chosen.yaml
      freediv sensitivity teacher --data train.tsv --measured sensitivity.json --budget "30 MB" --choose-by sqnr \
        --recipe chosen.yaml
    """
    from ..bench.choices import read_sensed, sense, tables_of
    from ..conversion.student.budget import Budget
    from ..conversion.texts.examples import read_texts
    from ..conversion.texts.pairing import as_read
    from ..model import read_model
    from ..terminal import console

    require_distinct(json_file, chart, recipe)
    limit = None if budget is None else Budget.of(budget)
    if (limit is None) != (recipe is None) or (limit is not None and not costs):
        raise UserError("--budget and --recipe belong together, and need the costs")
    texts = read_texts(data, text_columns)
    model = as_read(read_model(teacher), texts, data)
    with opened_output(json_file) as file, opened_output(recipe) as chosen, opened_chart(chart) as picture:
        if measured is None:
            found = sense(model, texts, length if costs else None, rows, slots)
        else:
            found = read_sensed(measured, model.architecture)
        out = console()
        for table in tables_of(found):
            out.width = max(out.width, 200)  # a cut number is none
            out.print(table)
        if file is not None:
            file.write(json.dumps(found.entries(), indent=2) + "\n")
        if chosen is not None and limit is not None:
            chosen.write(found.recipe(limit, criterion, model.architecture))
        if picture is not None:
            from ..bench.chart import sensitivities

            sensitivities([str(choice) for choice in found.choices], found.found, picture)
