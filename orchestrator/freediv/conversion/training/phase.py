"""A phase of training: what is minimised, over what, how fast, and until when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ...model import Parameters, Precision
from ..texts.batches import Batch, BatchPlan

Array = jax.Array
NumpyParameters = dict[str, dict[str, np.ndarray]]
Loss = Callable[[Parameters, Any, Mapping[str, Array], Array], Array]
"""(trained parameters, constants, batch, key) -> scalar.

The batch has the names of `batch_arrays`; `progress` is the share of the phase's steps that have been taken.
"""


@dataclass(frozen=True)
class Schedule:
    """AdamW (Loshchilov and Hutter 2019), linear warm-up and decay to 0, gradients clipped by their global norm.

    A step is taken with the mean gradient of `accumulate` batches; warm-up counts batches.
    """

    learning_rate: float
    warmup_steps: int = 60
    weight_decay: float = 0.01
    clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.98
    accumulate: int = 1

    def rate(self, batch: int, batches: int) -> float:
        """The learning rate of the step that a batch belongs to; batches count from 0 to `batches` - 1."""
        step, steps = batch // self.accumulate, max(1, batches // self.accumulate)
        warmup = min(max(1, self.warmup_steps // self.accumulate), max(1, steps // 10))
        share = (step + 1) / warmup if step < warmup else (steps - step) / max(1, steps - warmup)
        return self.learning_rate * max(0.0, share)


@dataclass(frozen=True)
class Epoch:
    """The sequences of one epoch, their targets (None: the loss needs none), and the batches to make of them."""

    sequences: Sequence[np.ndarray]
    targets: np.ndarray | None
    plan: BatchPlan


@dataclass(frozen=True)
class Stopping:
    """Early stopping: after each epoch `loss` measures the parameters on rows that are not trained on.

    Training ends when `patience` epochs in a row were no better than the best before them, whose parameters are kept.
    """

    loss: Callable[[NumpyParameters], float]
    patience: int


@dataclass(frozen=True)
class Phase:
    """One phase of training: what is minimised, over what, and how fast.

    `rate(stage, name)` multiplies a parameter's learning rate; 0 freezes it. With `stopping`, it may end early.
    `precision` is that of the operands of its products.
    """

    name: str
    loss: Loss
    epochs: tuple[Epoch, ...]
    schedule: Schedule
    pad_token: int
    seed: int
    rate: Callable[[str, str], float] = lambda stage, name: 1.0
    stopping: Stopping | None = None
    precision: Precision = "float32"


@dataclass(frozen=True)
class Trained:
    """Parameters after a phase, the mean loss of each epoch and the one on rows held out, if it could end early, the
    seconds that it took, and how many epochs it might have had.
    """

    parameters: NumpyParameters
    losses: tuple[float, ...]
    seconds: float
    held_out: tuple[float, ...] = ()
    planned: int = 0


def batch_arrays(batch: Batch, progress: float) -> dict[str, Any]:
    """The arrays of a batch by name, as losses and the model take them."""
    return {
        **batch.inputs,
        "targets": batch.targets,
        "weight": batch.weight,
        "progress": np.float32(progress),
    }
