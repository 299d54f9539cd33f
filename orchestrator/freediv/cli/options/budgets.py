"""Options of what chooses within a budget."""

from __future__ import annotations

from pathlib import Path

import click

CRITERIA = ("divergence", "sqnr", "random", "depth")
choose_by = click.option(
    "--choose-by", "criterion", type=click.Choice(CRITERIA), default="divergence", show_default=True,
    help="What a choice loses, with --budget: divergence of the answers, decibels (Kim et al. 2024); to compare with, "
    "any number, or the last layers first.",
)  # fmt: skip
measured = click.option(
    "--measured", type=click.Path(path_type=Path), metavar="FILE",
    help="What `freediv sensitivity --json` wrote of this teacher, in place of measuring.",
)  # fmt: skip
