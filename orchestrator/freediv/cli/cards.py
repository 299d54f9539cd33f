"""`freediv results`: models side by side; ways to run them, in the frame of a survey. `sensitivity`: what could be
chosen in a teacher, side by side. `quantize`: a classifier in integers, by published methods side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from ..files import opened_output, require_distinct
from .options.budgets import choose_by, measured
from .options.charts import opened_chart
from .options.columns import columns, text_columns

if TYPE_CHECKING:
    from ..conversion.measures.evaluation import Evaluation
    from ..conversion.quantisation.quantising import Quantised
    from ..conversion.student.budget import Criterion

_PATH = click.Path(path_type=Path)
_METHODS = ("i-bert", "fq-vit", "i-vit", "mixed")
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

    MODEL is a directory, or a card that was put aside, NAME.md with NAME.json. `finetune` and `convert` write the
    cards; `evaluate --secure DIR --card` and `bench model MODEL --card` add to them.

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
    from ..conversion.compiled import keep_compiled
    from ..conversion.student.budget import Budget
    from ..conversion.texts.examples import read_texts
    from ..conversion.texts.pairing import as_read
    from ..model import read_model
    from ..terminal import console

    keep_compiled()
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


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--data", type=_PATH, required=True, help="Labelled rows to calibrate and train on.")
@click.option("--dev", type=_PATH, help="Labelled rows to measure on.  [default: a tenth of the data, held out]")
@columns
@click.option(
    "--bits", type=click.Choice(["8", "6"]), default="8", show_default=True, help="Of weights and activations."
)
@click.option(
    "--method", "methods", type=click.Choice([*_METHODS, "all"]), multiple=True, default=["mixed"], show_default=True,
    help="Whose integer functions; mixed: for each slot whose lose least; may be repeated.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(0), default=3, show_default=True, help="Of training in integers.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True)
@click.option("--tokens-per-batch", type=click.IntRange(8), default=1024, show_default=True, help="Rows of a batch.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order of rows.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Train so often, from it on.")
@click.option("-o", "--out", type=click.Path(path_type=Path, resolve_path=True), help="Write it: for `evaluate` alone.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "json_file", type=_PATH, help="Write what was measured to a file.")
def quantize(
    model: str,
    data: Path,
    dev: Path | None,
    text_columns: tuple[str, ...],
    image_column: str,
    label_column: str,
    bits: str,
    methods: tuple[str, ...],
    out: Path | None,
    markdown: bool,
    json_file: Path | None,
    **training: Any,
) -> None:
    """Put a classifier into 8 or 6 bits with published integer functions, to see what they keep: not to be served.

    MODEL is a ViT, a DeiT, or a BERT. Weights and activations have so many bits, residuals 16; softmax, GELU and norms
    are those of I-BERT, FQ-ViT or I-ViT, or, mixed, in each slot those that lose least between what it reads and what
    it leaves (Kim et al. 2024). Each is trained alike, from the model's own weights, and measured beside the others.
    Under MPC their shifts and divisions would cost far more than the functions of students, so that no command but
    `evaluate` takes what is written; of several methods each has a folder in OUT.

    \b
    Examples:
      freediv quantize vit --data train --dev dev --bits 6 -o vit-6-bits
      freediv quantize vit --data train --dev dev --bits 6 --method all --seeds 3
    """
    from functools import partial

    from ..conversion.compiled import keep_compiled
    from ..conversion.measures.predictions import evaluate
    from ..conversion.output import new_directory, require_new
    from ..conversion.quantisation.quantising import ALL, Training, quantise
    from ..conversion.quantisation.stored import write_quantised
    from ..conversion.texts.examples import read_examples
    from ..conversion.texts.holding_out import hold_out
    from ..model import read_model
    from ..model.answers import answer_of

    keep_compiled()
    require_distinct(json_file)
    if out is not None:
        require_new(out)
    loaded = read_model(model)
    read = partial(
        read_examples, text_columns=text_columns, label_column=label_column,
        label_names=loaded.architecture.label_names, target=answer_of(loaded.architecture).target,
        image_column=None if loaded.architecture.padded else image_column,
    )  # fmt: skip
    kept, measured = hold_out(read(data), 0.1) if dev is None else (read(data), read(dev))
    chosen = ALL if "all" in methods else tuple(name for name in ALL if name in methods)
    with opened_output(json_file) as file:
        found = list(quantise(loaded, kept, measured, int(bits), chosen, Training(**training)))
        exact = evaluate(loaded, measured)
        _show_quantised(exact, found, bits, markdown)
        if file is not None:
            file.write(json.dumps([exact.to_dict(), *(one.to_dict() for one in found)], indent=2) + "\n")
    if out is not None:
        with new_directory(out) as directory:
            for one in found:
                write_quantised(one, directory if len(found) == 1 else directory / one.setting.method)
        click.echo(f"wrote {out}")


def _show_quantised(exact: Evaluation, found: Sequence[Quantised], bits: str, markdown: bool) -> None:
    for one in found:
        if one.chosen:
            names = list(one.chosen[0].lost)
            slots = [
                [own.slot, *(f"{own.lost[name]:.1f}" if name in own.lost else "-" for name in names), own.method]
                for own in one.chosen
            ]
            _show(f"Decibels that slots lose in {bits} bits", ["slot", *names, "chosen"], slots, markdown)
    rows = [["as it is", str(exact.overall), "", ""]]
    for one in found:
        values = [100 * own.overall.value for own in one.after]
        each = " ".join(f"{value:.1f}" for value in values)
        rows.append([one.setting.method, str(one.before.overall), f"{sum(values) / len(values):.2f} %", each])
    columns = ["functions", f"{exact.overall.measure} in {bits} bits", "after training, mean", "of each seed"]
    _show(f"{exact.overall.count} rows", columns, rows, markdown)
