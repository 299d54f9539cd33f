"""How long rows may be where no root bounds them: as long as the weights allow every value after them to be proven."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ...model import Architecture, Model, Parameters, hidden_states, stages
from ...model.functions.pooling import of_pooled
from ...model.masks import made_of_mask
from ...progress import Meter, say
from ..measures.bounds import stage_bounds
from ..measures.headroom import bits_of
from ..texts.batches import plan_batches

USUAL = 0.999
"""Share of the texts whose rows are within the limits before these are widened."""
_WIDER = tuple(2 ** (step / 4) for step in range(25))  # 1 to 64
_WITHOUT_PROOF = 2.0
_SPARE_BITS = 0.1  # for what a file rounds


def with_row_limits(model: Model, sequences: Sequence[np.ndarray]) -> Model:
    """A model whose rows have limits, in place of roots that it lacks; one that has all its roots stays as it is.

    A limit is a row's mean square where its norm leaves it, before weight and bias: about 1 in texts like those that g
    was trained on. It is the longest row that 99.9 % of `sequences` have there, times a factor, one after attention and
    one elsewhere: the largest with which `stage_bounds` proves that no text that keeps all limits takes a value out of
    the ring. Where none does, a factor is 2, and what was measured of texts that keep them is all there is.
    """
    architecture = model.architecture.model_copy(update={"row_limits": True})
    if not any(architecture.limited):
        return model
    usual = _usual_rows(model, sequences)
    chosen = [stage for stage in stages(architecture) if stage.limited]
    after_attention = np.array([stage.block == "attention" for stage in chosen])

    def limited_by(limits: np.ndarray) -> Model:
        classifier = {**model.parameters["classifier"], "limits": np.asarray(limits, np.float32)}
        parameters = {**model.parameters, "classifier": classifier}
        return replace(model, architecture=architecture, parameters=parameters)

    tried = 0
    with Meter("proofs", 2 * len(_WIDER).bit_length() + 1) as meter:

        def proven(limits: np.ndarray) -> bool:
            nonlocal tried
            bits = bits_of(max(stage_bounds(limited_by(limits)).values()))
            tried += 1
            meter.update(tried)
            return bits > _SPARE_BITS

        factors = np.ones(len(usual))
        for some in (after_attention, ~after_attention):  # either decides how far values go in the blocks that read it
            found = bisect_left(_WIDER, True, key=lambda wider: not proven(usual * np.where(some, wider, factors)))
            factors[some] = _WIDER[found - 1] if found else _WITHOUT_PROOF
        limits = usual * factors
        proof = "no value can leave the ring" if proven(limits) else "it is not proven that no value leaves the ring"
    say(f"limits of rows: {', '.join(f'{limit:.1f}' for limit in limits)}; within them {proof}")
    return limited_by(limits)


def _usual_rows(model: Model, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """The largest mean square of a row, of most texts [limits]."""
    architecture = model.architecture
    plan = plan_batches([len(sequence) for sequence in sequences], tokens_per_batch=1024)
    largest: list[np.ndarray] = []
    with Meter("limits", len(plan)) as meter:
        for index in range(len(plan)):
            batch = plan.batch(index, sequences, None, architecture.pad_token)
            largest.append(np.asarray(_largest_rows(architecture, model.parameters, batch.inputs))[batch.weight > 0])
            meter.update(index + 1)
    found = np.nan_to_num(np.concatenate(largest), nan=np.inf)
    return np.exp(np.quantile(found, USUAL, axis=0, method="lower"))


@partial(jax.jit, static_argnums=0)
def _largest_rows(architecture: Architecture, parameters: Parameters, inputs: Mapping[str, jax.Array]) -> jax.Array:
    """Logarithm of the largest mean square of a row that leaves a norm without its root [batch, norms]."""
    seen: dict[str, jax.Array] = {}
    hidden_states(architecture, parameters, inputs, observe=seen.__setitem__)
    masks = made_of_mask(architecture, inputs["mask"])
    longest = [
        jnp.max(
            jnp.where(masks[of_pooled("mask", stage.pools)] == 0, -jnp.inf, seen[name][..., 0])[:, : stage.first], -1
        )
        for stage in stages(architecture, folded=True)
        if (name := f"{stage.name}/log_variance_g2") in seen
    ]
    return jnp.stack(longest, axis=-1)
