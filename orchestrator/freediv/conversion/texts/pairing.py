"""Models and data that have to agree on whether texts come in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from ...errors import UserError
from ...model import Given, Model, read_tokenizer
from ...model.reading.given import is_pair, misfit


def separator_of(tokenizer: Tokenizer) -> int:
    """The id of the word piece that ends the first text of a pair.

    Raises:
        UserError: the tokenizer puts nothing between them.
    """
    encoding = tokenizer.encode("a", "a")
    member = encoding.sequence_ids  # of each piece: its text's number, None for special ones
    after = len(member) - member[::-1].index(0) if 0 in member else 0
    if after >= len(member) or member[after] is not None:
        raise UserError("the tokenizer puts no special piece between the texts of a pair; pairs need one")
    return int(encoding.ids[after])


def as_read(model: Model, texts: Sequence[Given], source: Path) -> Model:
    """The model, reading what the texts of a file are; a plain Hugging Face directory leaves it to them.

    Raises:
        UserError: the model reads pairs and they are single texts, or images and they are texts, or the other way
            round.
    """
    architecture = model.architecture
    for number, one in enumerate(texts, start=1):
        if (why := misfit(one, images=architecture.patches is not None)) is not None:
            raise UserError(f"{source}: number {number} {''.join(why)}")
    pairs = any(map(is_pair, texts))
    if pairs == architecture.pairs:
        return model
    if not model.plain or model.directory is None:
        reads = "pairs of texts: name both columns, each with --text-column"
        raise UserError(f"{source}: the model reads {reads if architecture.pairs else 'single texts: name one column'}")
    separator = separator_of(read_tokenizer(model.directory))
    return replace(model, architecture=architecture.model_copy(update={"separator_token": separator}))
