"""A model's predictions in plaintext, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import jax
import numpy as np

from ...errors import UserError
from ...model import (
    Architecture,
    Model,
    Parameters,
    fold,
    forward,
    hidden_states,
    prepare_inputs,
    read_reader,
)
from ...model import answer as answer_within
from ...model.answers import answer_of, marked
from ...model.blocks import blocks_of
from ...model.functions.norms import ignore
from ...progress import Meter
from ..texts.batches import Batch, plan_batches
from ..texts.examples import Examples
from ..texts.pairing import as_read
from ..texts.targets import as_wanted
from .evaluation import Evaluation, evaluate_answers

LENGTHS = (16, 32, 64, 128, 256, 512)
"""The same for every call, so that a model is compiled once for each."""


@partial(jax.jit, static_argnums=0)
def _forward(architecture: Architecture, parameters: Parameters, inputs: Mapping[str, jax.Array]) -> jax.Array:
    if not architecture.row_limits:
        return forward(architecture, parameters, inputs)
    logits, within = answer_within(architecture, parameters, inputs)
    return marked(logits, within)


@partial(jax.jit, static_argnums=0)
def _encode(architecture: Architecture, parameters: Parameters, inputs: Mapping[str, jax.Array]) -> jax.Array:
    classifier = blocks_of(architecture)[-1]
    rows = hidden_states(architecture, parameters, inputs)[0][-1]
    return classifier.normalise(False, rows, classifier.completed(parameters[classifier.name]), ignore)


def logits_of(model: Model, sequences: Sequence[np.ndarray], task: str = "evaluate") -> np.ndarray:
    """Logits [count, ...] of token sequences, in their order; run in batches of like lengths.

    Where every piece has logits of its own, they are [count, longest, labels], and NaN beyond a sequence's end. Where
    rows have limits, the folded model is run, and a sequence with a row beyond its own is `marked`.
    """
    architecture = model.architecture
    answer, lengths = answer_of(architecture), [len(sequence) for sequence in sequences]
    logits = np.full((len(sequences), *answer.logits_shape(architecture, max(lengths))), np.nan, np.float32)
    limited = architecture.row_limits
    parameters = fold(architecture, model.parameters) if limited else jax.device_put(model.parameters)
    for rows, batch in _batches(architecture, sequences, task):
        inputs = batch.inputs
        if limited:
            inputs = prepare_inputs(architecture, batch.read, batch.mask, table=model.public_table)
        found = np.asarray(_forward(architecture, parameters, inputs))
        for row, own in zip(rows, found, strict=False):
            part = slice(lengths[row]) if answer.each_piece else slice(None)
            logits[row][part] = own[part]
    return logits


def rows_of(model: Model, sequences: Sequence[np.ndarray], task: str = "evaluate") -> list[np.ndarray]:
    """What the encoder alone makes of token sequences, in their order: of each its rows [pieces, hidden]."""
    found: dict[int, np.ndarray] = {}
    parameters = jax.device_put(model.parameters)
    for rows, batch in _batches(model.architecture, sequences, task):
        inputs = batch.inputs
        for row, own in zip(rows, np.asarray(_encode(model.architecture, parameters, inputs)), strict=False):
            found[row] = own[: len(sequences[row])]
    return [found[row] for row in range(len(sequences))]


def _batches(
    architecture: Architecture, sequences: Sequence[np.ndarray], task: str
) -> Iterator[tuple[list[int], Batch]]:
    """Batches of like lengths, each with the places of its sequences; those beyond are repeated to fill it."""
    pad_to = np.array([length for length in LENGTHS if length < architecture.positions] + [architecture.positions])
    plan = plan_batches([len(own) for own in sequences], tokens_per_batch=_tokens_per_batch(), pad_to=pad_to)
    with Meter(task, len(plan)) as meter:
        for index, (_, rows) in enumerate(plan.batches):
            yield list(rows), plan.batch(index, sequences, None, architecture.pad_token)
            meter.update(index + 1)


def answers_of(model: Model, sequences: Sequence[np.ndarray], task: str = "evaluate") -> np.ndarray:
    """A model's answers to token sequences, in their order: `found`, as its kind of `Answer` has it."""
    return answer_of(model.architecture).plain(model.architecture, logits_of(model, sequences, task))


def _tokens_per_batch() -> int:
    return 2048 if jax.default_backend() == "cpu" else 16384


def evaluate(model: Model, examples: Examples, task: str = "evaluate") -> Evaluation:
    """How good the answers of a model are that was read from a directory; texts beyond its positions are cut there.

    Raises:
        UserError: the data has labels that the model does not know, or pairs where it reads single texts.
    """
    model = as_read(model, examples.texts, examples.source)
    if model.directory is None or examples.labels is None:
        raise ValueError("needs a model that was read from a directory, and labels")
    architecture, reader = model.architecture, read_reader(model.directory)
    if len(examples.label_names) != architecture.labels:
        raise UserError(f"{examples.source}: {len(examples.label_names)} labels, the model knows {architecture.labels}")
    longest, target = architecture.positions, answer_of(architecture).target
    sequences = reader.sequences(examples.texts, architecture)
    found, lengths = answers_of(model, sequences, task), [len(sequence) for sequence in sequences]
    wanted = as_wanted(target, reader, examples.texts, examples.labels, longest)
    return evaluate_answers(architecture, found, wanted, lengths)


def evaluate_beside(model: Model, other: Model, examples: Examples, task: str = "evaluate") -> Evaluation:
    """How good the answers of a model are where another's are right; each reads them in its own way."""
    found = []
    for one in (model, other):
        assert one.directory is not None
        architecture = one.architecture
        sequences = read_reader(one.directory).sequences(examples.texts, architecture)
        found.append((answers_of(one, sequences, task), [len(sequence) for sequence in sequences]))
    (own, lengths), (wanted, _) = found
    return evaluate_answers(model.architecture, own, wanted, lengths)
