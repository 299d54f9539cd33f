"""`freediv audit`: what could be learnt of a model by asking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from .options.charts import opened_chart
from .options.columns import text_columns

_PATH = click.Path(path_type=Path)
_ATTACKS = ("extraction", "continuous", "seek", "shadownet")


@click.command()
@click.argument("model", type=_PATH)
@click.option("--attack", "attacks", multiple=True, type=click.Choice(_ATTACKS), help="Only this; may be repeated.")
@click.option("--texts", type=_PATH, help="The attacker's: one a line (.txt), or columns.  [default: random words]")
@text_columns
@click.option(
    "--queries", "sizes", multiple=True, type=click.IntRange(1, 1_000_000), help="Texts asked about; may be repeated.  "
    "[default: 100, 1000, 10000]",
)  # fmt: skip
@click.option(
    "--student",
    "encoder",
    type=_PATH,
    metavar="PRETRAINED",
    help="The attacker's encoder.  [default: a small fresh one]",
)
@click.option("--output", type=click.Choice(["label", "logits"]), default="label", show_default=True,
              help="What is revealed; with --through, as the deployment does.")  # fmt: skip
@click.option("--through", type=_PATH, metavar="DIR", help="Ask the parties that run, within the quota, as data owner.")
@click.option("--published", type=_PATH, metavar="PRETRAINED", help="What MODEL was tuned from, as attackers may know.")
@click.option(
    "--longest", default=64, show_default=True, type=click.IntRange(4, 512), help="Cut texts at so many pieces."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of all that is random.")
@click.option("--chart", type=_PATH, help="Draw what students learned (.svg or .png).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(
    model: Path,
    attacks: tuple[str, ...],
    sizes: tuple[int, ...],
    chart: Path | None,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """What could be learnt of a model of yours by asking? Attacks from the literature, tried on it here.

    MODEL is a Hugging Face directory, or `demo`. Nothing leaves this machine, but for what --through asks. Everything
    that is printed was measured by the run; the same seed gives the same, but for what parties round at random.

    extraction: a student learns the answers to texts. continuous: numbers in place of word pieces. seek: a hybrid
    protocol of two parties, whose client learns the weights; three parties as their data owner; and with one that
    deviates. shadownet: masked weights on an accelerator, beside replicated shares.

    \b
    Examples:
      freediv audit demo
      freediv audit demo --attack extraction --texts reviews.txt --student PRETRAINED --chart learned.svg
      freediv audit student --attack extraction --queries 200 --through deployment --json
    """
    from ..audit.chart import draw
    from ..audit.page import print_page
    from ..audit.whole import audit_model
    from ..conversion.compiled import keep_compiled
    from ..terminal import console

    keep_compiled()
    chosen = attacks or _ATTACKS
    if chart is not None and not {"extraction", "continuous"} & set(chosen):
        raise UserError("--chart draws what students learned; add --attack extraction")
    with opened_chart(chart) as picture:
        findings = audit_model(model, chosen, sizes=sizes, seed=seed, **options)
        if picture is not None:
            draw(findings, f"what a student learned of {model}", picture)
    if as_json:
        told = {"model": str(model), "seed": seed, "attacks": [finding.to_dict() for finding in findings]}
        click.echo(json.dumps(told, indent=2))
    else:
        print_page(findings, str(model), console())
