"""Options that give texts to a model: on the command line, or in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import UserError
from .columns import text_columns

if TYPE_CHECKING:
    from ...model import Text

_Command = TypeVar("_Command", bound=Callable[..., Any])


def texts_to_read(command: _Command) -> _Command:
    """Texts, pairs of them, or a file; and whether they are cut."""
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
        click.option("--text", "texts", multiple=True, help="A text; may be given several times."),
    ):
        command = option(command)
    return command


def texts_given(
    texts: Sequence[str], pairs: Sequence[tuple[str, str]], file: Path | None, columns: Sequence[str], purpose: str
) -> list[Text]:
    """All of them.

    Raises:
        UserError: there is none, or the file cannot be read.
    """
    from ...conversion.texts.examples import read_texts

    found: list[Text] = [*texts, *pairs, *(read_texts(file, columns) if file is not None else [])]
    if not found:
        raise UserError(f"there is nothing to {purpose}; give --text, --pair or --file")
    return found
