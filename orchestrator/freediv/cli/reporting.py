"""`freediv report`: the table and the page again, from saved records."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..errors import UserError
from ..files import PRIVATE, NewFile, require_distinct


@click.command()
@click.argument("records", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="Where to write the HTML page.",
)
@click.option(
    "--with-sentences", is_flag=True, help="Put the sentences and their labels on the page: it is then yours to keep."
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def report(records: Path, output: Path, with_sentences: bool, as_json: bool) -> None:
    """Show what saved RECORDS cost: a table here, and one HTML page with charts.

    RECORDS is what `freediv infer --json` or `freediv demo --json` printed. The page is a single file that loads
    nothing from anywhere; it holds no sentence and no prediction unless asked to.

    \b
    Example:  freediv demo --json > records.json
              freediv report records.json -o page.html
    """
    from ..model.answers import NO_ANSWER
    from ..monitoring.costs import read_run
    from ..monitoring.report import Sentence, render_report
    from ..monitoring.table import cost_table, print_costs
    from ..terminal import console

    require_distinct(records, output)
    run, predictions = read_run(records)
    sentences: list[Sentence] = []
    if with_sentences:
        try:
            sentences = [Sentence(str(entry["text"]), str(entry["label"] or NO_ANSWER)) for entry in predictions]
        except (KeyError, TypeError) as error:
            raise UserError(f"{records}: predictions without text and label; leave out --with-sentences") from error
        if not sentences:
            raise UserError(f"{records}: holds no predictions; leave out --with-sentences")
    with NewFile(output, PRIVATE if sentences else None) as page:
        page.write(render_report(run, sentences))
        if as_json:
            click.echo(json.dumps(cost_table(run), indent=2), err=page.is_printed)
        else:
            print_costs(run, console(stderr=page.is_printed))
            click.echo(f"page: {output}", err=page.is_printed)
