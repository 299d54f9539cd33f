"""Options that give texts or images to a model: on the command line, or in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import UserError
from .columns import text_columns

if TYPE_CHECKING:
    from ...model import Given

_Command = TypeVar("_Command", bound=Callable[..., Any])


def texts_to_read(command: _Command) -> _Command:
    """Texts, pairs of them, a file, or images; and whether they are cut."""
    for option in (
        click.option(
            "--truncate", is_flag=True, help="Cut texts that are longer than the model reads, not refuse them."
        ),
        text_columns,
        click.option(
            "--file",
            type=click.Path(path_type=Path),
            help="A text a line (.txt), or columns (.tsv, .csv, .jsonl).",
        ),
        click.option(
            "--pair", "pairs", type=(str, str), multiple=True, help="Two texts, for a model that reads pairs."
        ),
        click.option(
            "--image",
            "images",
            type=click.Path(path_type=Path),
            multiple=True,
            help="A PNG or JPEG file, a folder, or a table (.csv, .tsv, .jsonl) with files in a column `image`.",
        ),
        click.option("--text", "texts", multiple=True, help="A text; may be given several times."),
    ):
        command = option(command)
    return command


def texts_given(
    texts: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    file: Path | None,
    columns: Sequence[str],
    images: Sequence[Path],
    purpose: str,
) -> list[Given]:
    """All of them.

    Raises:
        UserError: there is none, or the file cannot be read.
    """
    from ...conversion.texts.examples import read_texts
    from ...conversion.texts.images import read_images

    found: list[Given] = [*texts, *pairs, *(read_texts(file, columns) if file is not None else [])]
    found += [one for path in images for one in read_images(path)]
    if not found:
        raise UserError(f"there is nothing to {purpose}; give --text, --pair, --file or --image")
    return found
