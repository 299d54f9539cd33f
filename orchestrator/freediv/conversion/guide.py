"""Whose probabilities are learned: a teacher's own, or those of a larger classifier of the same labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ..errors import UserError
from ..transformer import Model, Text, read_model
from .batches import join_sequences
from .data import Examples
from .epochs import Rows
from .pairs import as_read
from .vocabulary import encode, read_tokenizer

_MOST_UNKNOWN = 0.02


@dataclass(frozen=True)
class Guide:
    """A classifier, and how it reads what a student reads.

    Attributes:
        model: the classifier.
        sequences: all rows in its own word pieces.
        pieces: its id of each of the student's word pieces [student's vocabulary], for rows with noise; None: there are
            no such rows.
    """

    model: Model
    sequences: Sequence[np.ndarray]
    pieces: np.ndarray | None = None

    def read(self, rows: Rows, *, noise: bool) -> Sequence[np.ndarray]:
        """The sequences of an epoch; with noise, piece by piece as the student has them."""
        limit, separator = self.model.architecture.positions, self.model.architecture.separator_token
        if noise:
            assert self.pieces is not None
            return [self.pieces[sequence][:limit] for sequence in rows.epoch.sequences]
        return [join_sequences([self.sequences[row] for row in group], separator)[:limit] for group in rows.groups]


def read_guide(directory: Path, examples: Examples) -> Model:
    """A classifier of the labels that the examples have.

    Raises:
        UserError: it cannot be read, or its labels are others.
    """
    guide = as_read(read_model(directory), examples.texts, examples.source)
    known = guide.architecture.label_names
    if known != examples.label_names:
        raise UserError(
            f"--guide {directory}: it knows the labels {', '.join(known)}, "
            f"the data has {', '.join(examples.label_names)}"
        )
    return guide


def make_guide(guide: Model, texts: Sequence[Text], tokenizer: Tokenizer | None = None) -> Guide:
    """A classifier as a guide to these texts; beside a student of another `tokenizer` if its rows have noise.

    Raises:
        UserError: it lacks the student's word pieces, or parts two texts by more or fewer.
    """
    assert guide.directory is not None
    own = read_tokenizer(guide.directory)
    sequences = encode(own, texts, guide.architecture.positions)
    return Guide(guide, sequences, None if tokenizer is None else _same_pieces(guide.directory, own, tokenizer, texts))


def _same_pieces(directory: Path, own: Tokenizer, other: Tokenizer, texts: Sequence[Text]) -> np.ndarray:
    """Ids in `own` of the word pieces of `other`, by their names; special ones by their places in a text."""
    name = getattr(own.model, "unk_token", None)
    unknown = own.token_to_id(name) if name else None
    named = [own.token_to_id(other.id_to_token(number) or "") for number in range(other.get_vocab_size())]
    pieces = np.array([-1 if number is None else number for number in named], np.int32)
    a = "a" if not texts or isinstance(texts[0], str) else ("a", "a")
    wanted, [found] = encode(own, [a], 16)[0], other.encode_batch([a])
    if len(wanted) != len(found.ids):
        raise UserError(f"--guide {directory}: parts the texts of a pair otherwise; leave out the last stage's noise")
    special = np.array(found.special_tokens_mask, bool)
    pieces[np.array(found.ids)[special]] = wanted[special]
    used = np.bincount(np.concatenate(encode(other, texts, 512)), minlength=len(pieces))
    if unknown is None or used[pieces < 0].sum() > _MOST_UNKNOWN * used.sum():
        raise UserError(f"--guide {directory}: its word pieces are others; leave out the last stage's noise")
    return np.where(pieces < 0, unknown, pieces).astype(np.int32)
