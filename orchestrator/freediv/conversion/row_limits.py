"""How long rows may be where no root bounds them: as long as the weights allow every value after them to be proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ..transformer import Architecture, Model, Parameters, hidden_states, stages
from .batches import plan_batches
from .bounds import stage_bounds
from .headroom import bits_of
from .progress import Meter, say

USUAL = 0.999
"""Share of the texts whose rows are within the limits before these are widened."""
_SPARE_BITS = 0.5  # for what a file rounds
_WIDER = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.4, 1.0)


def with_row_limits(model: Model, sequences: Sequence[np.ndarray]) -> Model:
    """A model whose rows have limits, in place of roots that it lacks; one that has all its roots stays as it is.

    A limit is a row's mean square where its norm leaves it, before weight and bias: about 1 in texts like those that g
    was trained on. It is the longest row that 99.9 % of `sequences` have there, times one factor for all limits: the
    largest with which `stage_bounds` proves that no text that keeps them takes any value out of the ring. Where none
    does, the factor is 1, and what was measured of texts that keep them is all there is.
    """
    architecture = model.architecture.model_copy(update={"row_limits": True})
    if not any(architecture.limited):
        return model
    usual = _usual_rows(model, sequences)
    limited, wider = model, 1.0
    for wider in _WIDER:
        classifier = {**model.parameters["classifier"], "limits": np.asarray(usual * wider, np.float32)}
        parameters = {**model.parameters, "classifier": classifier}
        limited = replace(model, architecture=architecture, parameters=parameters)
        if bits_of(max(stage_bounds(limited).values())) > _SPARE_BITS:
            say(f"limits of rows: {wider:g} times the usual, within which no value can leave the ring")
            return limited
    say("limits of rows: the usual; that no value can leave the ring within them is measured, not proven")
    return limited


def _usual_rows(model: Model, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """The largest mean square of a row, of most texts [limits]."""
    architecture = model.architecture
    plan = plan_batches([len(sequence) for sequence in sequences], tokens_per_batch=1024)
    largest: list[np.ndarray] = []
    with Meter("limits", len(plan)) as meter:
        for index in range(len(plan)):
            batch = plan.batch(index, sequences, None, architecture.pad_token)
            inputs = {"token_ids": batch.token_ids, "mask": batch.mask}
            largest.append(np.asarray(_largest_rows(architecture, model.parameters, inputs))[batch.weight > 0])
            meter.update(index + 1)
    found = np.nan_to_num(np.concatenate(largest), nan=np.inf)
    return np.exp(np.quantile(found, USUAL, axis=0, method="lower"))


@partial(jax.jit, static_argnums=0)
def _largest_rows(architecture: Architecture, parameters: Parameters, inputs: Mapping[str, jax.Array]) -> jax.Array:
    """Logarithm of the largest mean square of a row that leaves a norm without its root [batch, norms]."""
    seen: dict[str, jax.Array] = {}
    hidden_states(architecture, parameters, inputs, observe=seen.__setitem__)
    padded = inputs["mask"] == 0
    names = [f"{stage.name}/log_variance_g2" for stage in stages(architecture)]
    rows = [jnp.where(padded, -jnp.inf, seen[name][..., 0]) for name in names if name in seen]
    return jnp.stack([jnp.max(own, axis=-1) for own in rows], axis=-1)
