"""Which heads and neurons a thinner student keeps: those whose contribution varies most, over texts.

What a block adds is a sum over its units (heads, or neurons): what a unit holds, times its own rows of the last map. A
unit that is left out is best replaced by its mean, which joins the bias; what is lost is then the variance of its
contribution, trace(W^T C W) for the covariance C of what it holds and its rows W of the map. Those of which most would
be lost are kept. Correlations between units are left aside, for training to make up for: they matter little where few
are left out (Michel et al. 2019, section 3, for heads by another measure).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ...model import LayerSizes, Model, hidden_states
from ...model.blocks import blocks_of
from ...model.blocks.residual import ResidualBlock
from ...model.functions.pooling import of_pooled
from ...model.masks import made_of_mask
from ...progress import Meter
from ..texts.batches import plan_batches

Array = jax.Array
NumpyParameters = dict[str, dict[str, np.ndarray]]


def narrowed(model: Model, sequences: Sequence[np.ndarray], sizes: Mapping[int, LayerSizes]) -> NumpyParameters:
    """A model's parameters where blocks of layers are as thin as `sizes` say; `sequences` are texts that it reads.

    A bias takes up the mean of what is left out, unless the model has none there.
    """
    parameters = {stage: dict(own) for stage, own in model.parameters.items()}
    wanted: dict[ResidualBlock, int] = {}
    for block in blocks_of(model.architecture):
        if isinstance(block, ResidualBlock) and block.layer is not None and block.layer in sizes:
            count = block.units_in(sizes[block.layer])
            if count < block.units:
                wanted[block] = count
    if not wanted:
        return parameters
    means, variances = _moments(model, sequences, tuple(wanted))
    for block, count in wanted.items():
        own = parameters[block.name]
        weight = np.asarray(own["output.weight"], np.float64).reshape(block.units, -1, own["output.weight"].shape[-1])
        contributed = np.einsum("uio,uij,ujo->u", weight, variances[block.name], weight, optimize=True)
        order = np.argsort(-contributed, kind="stable")
        kept, left_out = np.sort(order[:count]), order[count:]
        if "output.bias" in own:
            lost = np.einsum("ui,uio->o", means[block.name][left_out], weight[left_out])
            own["output.bias"] = np.asarray(own["output.bias"] + lost, np.float32)
        parameters[block.name] = block.keeping(own, kept)
    return parameters


def in_layers(parameters: NumpyParameters, layers: Sequence[int]) -> NumpyParameters:
    """Parameters of stages of these layers alone, numbered anew."""
    numbers = {f"encoder.{layer}": f"encoder.{number}" for number, layer in enumerate(layers)}
    found: NumpyParameters = {}
    for stage, own in parameters.items():
        before, _, kind = stage.rpartition(".")
        if before in numbers:
            found[f"{numbers[before]}.{kind}"] = own
    return found


def _moments(
    model: Model, sequences: Sequence[np.ndarray], blocks: tuple[ResidualBlock, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of what the units of blocks hold, over all real rows: means [units, width] and covariances [units, width, width],
    by stage.
    """
    plan = plan_batches([len(sequence) for sequence in sequences], tokens_per_batch=1024)
    run = jax.jit(partial(_sums, model, blocks))
    sums: dict[str, list[np.ndarray]] = {}
    with Meter("contributions", len(plan)) as meter:
        for index in range(len(plan)):
            batch = plan.batch(index, sequences, None, model.architecture.pad_token)
            for name, some in run(model.parameters, batch.inputs, batch.weight).items():
                own = [np.asarray(value, np.float64) for value in some]
                sums[name] = [a + b for a, b in zip(sums[name], own, strict=True)] if name in sums else own
            meter.update(index + 1)
    means = {name: total / count for name, (count, total, _) in sums.items()}
    return means, {
        name: squares / count - np.einsum("ui,uj->uij", means[name], means[name])
        for name, (count, _, squares) in sums.items()
    }


def _sums(
    model: Model,
    blocks: tuple[ResidualBlock, ...],
    parameters: Mapping[str, Mapping[str, Array]],
    inputs: Mapping[str, Array],
    weight: Array,
) -> dict[str, tuple[Array, Array, Array]]:
    seen: dict[str, Array] = {}
    hidden_states(model.architecture, parameters, inputs, observe=seen.__setitem__)
    masks = made_of_mask(model.architecture, inputs["mask"])
    found = {}
    for block in blocks:
        held = seen[f"{block.name}/{block.holds}"]
        real = masks[of_pooled("mask", block.pools)] * weight[:, None]
        units = held.reshape(*held.shape[:2], block.units, -1)
        own = units * real[..., None, None]
        found[block.name] = (real.sum(), own.sum((0, 1)), jnp.einsum("blui,bluj->uij", own, units))
    return found
