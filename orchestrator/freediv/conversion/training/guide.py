"""Whose answers are learned: a teacher's own, or those of a larger model that answers the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ...errors import UserError
from ...model import Given, Model, Text, read_model, read_reader, read_tokenizer
from ...model.answers import answer_of
from ..measures.comparison import require_alike
from ..texts.batches import join_sequences
from ..texts.examples import Examples
from ..texts.pairing import as_read
from .epochs import Read

_MOST_UNKNOWN = 0.02


@dataclass(frozen=True)
class Guide:
    """A model, and how it reads the rows of an epoch."""

    model: Model
    read: Read


def reads_rows(model: Model, sequences: Sequence[np.ndarray]) -> Guide:
    """A guide to rows without noise; `sequences` are all rows in its own word pieces."""
    limit, separator = model.architecture.positions, model.architecture.separator_token
    return Guide(
        model,
        lambda rows: [join_sequences([sequences[row] for row in group], separator)[:limit] for group in rows.groups],
    )


def reads_pieces(model: Model, pieces: np.ndarray) -> Guide:
    """A guide to what a student reads, noise and all; `pieces` [student's vocabulary] are its ids of the student's."""
    limit = model.architecture.positions
    return Guide(model, lambda rows: [pieces[sequence][:limit] for sequence in rows.epoch.sequences])


def read_guide(directory: Path, examples: Examples, learner: Model) -> Model:
    """A model that answers what the learner does, of the labels that the examples have.

    Raises:
        UserError: it cannot be read, or it answers something else, or cuts texts into other word pieces where each has
            its own answer.
    """
    guide = as_read(read_model(directory), examples.texts, examples.source)
    known = guide.architecture.label_names
    if answer_of(guide.architecture) is answer_of(learner.architecture) and known != examples.label_names:
        raise UserError(
            f"--guide {directory}: it knows the labels {', '.join(known)}, "
            f"the data has {', '.join(examples.label_names)}"
        )
    answer = require_alike(learner, guide, f"--guide {directory}")
    readers = [read_reader(model.directory).content() for model in (guide, learner) if model.directory is not None]
    if answer.each_piece and len(set(readers)) > 1:
        raise UserError(f"--guide {directory}: its tokenizer is another, and labels are of word pieces")
    return guide


def make_guide(model: Model, texts: Sequence[Given]) -> Guide:
    """A classifier that was read from a directory, as a guide to rows without noise."""
    assert model.directory is not None
    return reads_rows(model, read_reader(model.directory).sequences(texts, model.architecture))


def make_guide_beside(model: Model, tokenizer: Tokenizer, sequences: Sequence[np.ndarray]) -> Guide:
    """A classifier that was read from a directory, as a guide to what a student of another tokenizer reads.

    Word pieces are matched by their names, special ones by their places in a text; `sequences` are the student's texts.

    Raises:
        UserError: it lacks the student's word pieces, or parts two texts by more or fewer.
    """
    assert model.directory is not None
    own = read_tokenizer(model.directory)
    name = getattr(own.model, "unk_token", None)
    unknown = own.token_to_id(name) if name else None
    rows = model.architecture.vocabulary
    count = 1 + max(tokenizer.get_vocab().values())  # a vocabulary may have holes
    named = [own.token_to_id(tokenizer.id_to_token(number) or "") for number in range(count)]
    pieces = np.array([-1 if number is None or number >= rows else number for number in named], np.int32)
    a: Text = ("a", "a") if model.architecture.pairs else "a"
    [wanted], [found] = own.encode_batch([a]), tokenizer.encode_batch([a])
    if len(wanted.ids) != len(found.ids):
        raise UserError(
            f"--guide {model.directory}: parts the texts of a pair otherwise; leave out the last stage's noise"
        )
    special = np.array(found.special_tokens_mask, bool)
    pieces[np.array(found.ids)[special]] = np.array(wanted.ids)[special]
    used = np.bincount(np.concatenate(sequences), minlength=len(pieces))
    if unknown is None or unknown >= rows or used[pieces < 0].sum() > _MOST_UNKNOWN * used.sum():
        raise UserError(f"--guide {model.directory}: its word pieces are others; leave out the last stage's noise")
    return reads_pieces(model, np.where(pieces < 0, unknown, pieces).astype(np.int32))
