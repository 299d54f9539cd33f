"""Commands that take a model of others, whose help says which."""

from __future__ import annotations

import click


class TakesModels(click.Command):
    """Ends its help with what can be brought, as the registries have it."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Loads the registries, which other help does without."""
        from ...model.brought import what_can_be_brought

        with formatter.section("Models that can be brought"):
            formatter.write_dl([(what.replace("`", ""), how) for what, how in what_can_be_brought()])
