"""A model's predictions in plaintext, and how good they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np

from ..errors import UserError
from ..transformer import Architecture, Model, Parameters, forward
from .accuracy import Evaluation, evaluate_predictions
from .batches import plan_batches
from .data import Examples
from .pairs import as_read
from .progress import Meter
from .vocabulary import encode, read_tokenizer

LENGTHS = (16, 32, 64, 128, 256, 512)
"""The same for every call, so that a model is compiled once for each."""


@partial(jax.jit, static_argnums=0)
def _forward(architecture: Architecture, parameters: Parameters, token_ids: jax.Array, mask: jax.Array) -> jax.Array:
    return forward(architecture, parameters, {"token_ids": token_ids, "mask": mask})


def logits_of(model: Model, sequences: Sequence[np.ndarray], task: str = "evaluate") -> np.ndarray:
    """Logits [count, labels] of token sequences, in their order; run in batches of like lengths."""
    architecture = model.architecture
    lengths = [len(sequence) for sequence in sequences]
    pad_to = np.array([length for length in LENGTHS if length < architecture.positions] + [architecture.positions])
    plan = plan_batches(lengths, tokens_per_batch=_tokens_per_batch(), pad_to=pad_to)
    logits = np.zeros((len(sequences), architecture.labels), np.float32)
    parameters = jax.device_put(model.parameters)
    with Meter(task, len(plan)) as meter:
        for index, (_, rows) in enumerate(plan.batches):
            batch = plan.batch(index, sequences, None, architecture.pad_token)
            logits[rows] = _forward(architecture, parameters, batch.token_ids, batch.mask)[: len(rows)]
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
    return evaluate_predictions(logits.argmax(axis=-1), examples.labels, [len(sequence) for sequence in sequences])
