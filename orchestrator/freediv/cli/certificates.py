"""`freediv revoke`: whom parties answer no more."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("who", metavar="WHO", required=False)
@click.option("--undo", is_flag=True, help="Answer them again.")
def revoke(directory: Path, who: str | None, undo: bool) -> None:
    """Answer an owner or a party no more, from its next call on; without WHO, list who is not answered.

    DIR is a rendered directory, or one party's folder on its host: every party decides for itself. WHO is a role such
    as data-owner/alice, whatever its certificate; or one certificate alone: its file, or its SHA-256 fingerprint. What
    a party has open at a gateway ends within two seconds.

    \b
    Example:  freediv revoke deployment data-owner/alice
    """
    from ..cluster.revocation import change, revoked

    if who is None:
        for folder, entries in revoked(directory).items():
            click.echo(f"{folder}: {', '.join(entries) or 'nobody is revoked'}")
        return
    entry, folders = change(directory, who, undo=undo)
    names = ", ".join(folder.name for folder in folders)
    click.echo(f"{entry} is {'answered again' if undo else 'answered no more'} by {names}, from the next call on")
