"""A model's predictions in plaintext, and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError
from ..transformer import Architecture, Model, Parameters, answer, fold, forward, prepare_inputs
from .accuracy import Evaluation, evaluate_predictions, labels_of
from .batches import plan_batches
from .data import Examples
from .pairs import as_read
from .progress import Meter
from .vocabulary import encode, read_tokenizer

LENGTHS = (16, 32, 64, 128, 256, 512)
"""The same for every call, so that a model is compiled once for each."""


@partial(jax.jit, static_argnums=0)
def _forward(architecture: Architecture, parameters: Parameters, inputs: Mapping[str, jax.Array]) -> jax.Array:
    if not architecture.row_limits:
        return forward(architecture, parameters, inputs)
    logits, within = answer(architecture, parameters, inputs)
    return jnp.where(within[:, None], logits, jnp.nan)


def logits_of(model: Model, sequences: Sequence[np.ndarray], task: str = "evaluate") -> np.ndarray:
    """Logits [count, labels] of token sequences, in their order; run in batches of like lengths.

    Where rows have limits, the folded model is run, and a sequence with a row beyond its own has NaN.
    """
    architecture = model.architecture
    lengths = [len(sequence) for sequence in sequences]
    pad_to = np.array([length for length in LENGTHS if length < architecture.positions] + [architecture.positions])
    plan = plan_batches(lengths, tokens_per_batch=_tokens_per_batch(), pad_to=pad_to)
    logits = np.zeros((len(sequences), architecture.labels), np.float32)
    limited = architecture.row_limits
    parameters = fold(architecture, model.parameters) if limited else jax.device_put(model.parameters)
    with Meter(task, len(plan)) as meter:
        for index, (_, rows) in enumerate(plan.batches):
            batch = plan.batch(index, sequences, None, architecture.pad_token)
            inputs = {"token_ids": batch.token_ids, "mask": batch.mask}
            if limited:
                inputs = prepare_inputs(architecture, batch.token_ids, batch.mask, table=model.public_table)
            logits[rows] = _forward(architecture, parameters, inputs)[: len(rows)]
            meter.update(index + 1)
    return logits


def _tokens_per_batch() -> int:
    return 2048 if jax.default_backend() == "cpu" else 16384


def evaluate(model: Model, examples: Examples, task: str = "evaluate") -> Evaluation:
    """Accuracy of a model that was read from a directory; texts beyond its positions are cut there.

    Raises:
        UserError: the data has labels that the model does not know, or pairs where it reads single texts.
    """
    model = as_read(model, examples.texts, examples.source)
    if model.directory is None or examples.labels is None:
        raise ValueError("needs a model with a tokenizer, and labels")
    if len(examples.label_names) != model.architecture.labels:
        raise UserError(
            f"{examples.source}: {len(examples.label_names)} labels, the model knows {model.architecture.labels}"
        )
    sequences = encode(read_tokenizer(model.directory), examples.texts, model.architecture.positions)
    logits = logits_of(model, sequences, task)
    return evaluate_predictions(labels_of(logits), examples.labels, [len(sequence) for sequence in sequences])
