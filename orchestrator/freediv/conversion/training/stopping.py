"""Rows that are not trained on say when it is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from ...model import Precision, in_precision
from .phase import Epoch, Loss, NumpyParameters, Stopping, batch_arrays


def stopping(
    patience: int, loss: Loss, held_out: Sequence[Epoch], constants: Any, pad_token: int, precision: Precision
) -> Stopping | None:
    """Early stopping by a loss of all rows of the epoch that is `held_out`; none where there is no such epoch."""
    if not held_out:
        return None
    [rows] = held_out
    return Stopping(_mean_loss(loss, rows, constants, pad_token, precision), patience)


def _mean_loss(
    loss: Loss, rows: Epoch, constants: Any, pad_token: int, precision: Precision
) -> Callable[[NumpyParameters], float]:
    """The mean of a loss over batches, each as much as it has rows, as at the end of a training."""
    compute = jax.jit(loss)

    def mean(parameters: NumpyParameters) -> float:
        on_device, total = jax.device_put((parameters, constants)), 0.0
        for index, (_, members) in enumerate(rows.plan.batches):
            batch = rows.plan.batch(index, rows.sequences, rows.targets, pad_token)
            with in_precision(precision):
                value = compute(*on_device, batch_arrays(batch, 1.0), jax.random.key(0))
            total += float(value) * len(members)
        return total / len(rows.sequences)

    return mean
