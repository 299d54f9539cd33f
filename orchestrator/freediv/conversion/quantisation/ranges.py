"""What calibration finds at every place of an encoder: how large its numbers become."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ...model import Architecture, Model
from ..texts.batches import Batch, padding_lengths, plan_batches
from .arithmetic import MOST_FACTOR, RESIDUAL_BITS, Exact
from .encoder import Parameters, logits, slots

Array = jax.Array
Ranges = dict[str, np.ndarray]

BATCHES = 30
_TOKENS, _SHAPES = 1024, 2
_WORD = 32
"""Bits of the sum of squares that a norm of I-BERT takes the root of."""


def batches_of(model: Model, sequences: Sequence[np.ndarray], seed: int) -> list[Batch]:
    """The batches that calibration and choice see, of sequences drawn at random."""
    rng = np.random.default_rng(seed)
    drawn = [sequences[row] for row in rng.permutation(len(sequences))]
    lengths = [len(one) for one in drawn]
    plan = plan_batches(lengths, tokens_per_batch=_TOKENS, pad_to=padding_lengths(lengths, _SHAPES), rng=rng)
    count = min(BATCHES, len(plan))
    return [plan.batch(index, drawn, None, model.architecture.pad_token) for index in range(count)]


def calibrate_ranges(model: Model, batches: Sequence[Batch]) -> Ranges:
    """The largest magnitude at every place of the exact model, the mean over batches; and what norms need beside."""
    run = jax.jit(partial(_largest, model.architecture))
    found = [{name: np.asarray(value) for name, value in run(model.parameters, one.inputs).items()} for one in batches]
    ranges: Ranges = {}
    for name in found[0]:
        ranges[name] = np.maximum(np.mean([one[name] for one in found], axis=0), 1e-6).astype(np.float64)
    for slot, kind in slots(model.architecture):
        if kind == "norm":
            scale = float(ranges[f"{slot}/in"]) / (2 ** (RESIDUAL_BITS - 1) - 1)
            ranges |= _of_norm(slot, scale, ranges.pop(f"{slot}/squares"), ranges.pop(f"{slot}/channels"))
    return ranges


def _of_norm(slot: str, scale: float, squares: np.ndarray, channels: np.ndarray) -> Ranges:
    """By how much a row is shifted so that its sum of squares fits into a word; and the least factors that clip nothing
    (FQ-ViT takes those of the least squared error, which at 16 bits are nearly the same).
    """
    shift = max(0, math.ceil((math.log2(float(squares) / scale**2) - _WORD) / 2))
    steps = scale * 2.0**-MOST_FACTOR * (2 ** (RESIDUAL_BITS - 1) - 1)
    factors = np.clip(np.ceil(np.log2(channels / steps)), 0, MOST_FACTOR).astype(np.int64)
    return {f"{slot}/shift": np.int64(shift), f"{slot}/factors": factors}


def _largest(architecture: Architecture, parameters: Parameters, inputs: Mapping[str, Array]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    norms = {f"{slot}/in" for slot, kind in slots(architecture) if kind == "norm"}

    def observe(name: str, value: Array) -> None:
        magnitude = jnp.abs(of_real(architecture, value, inputs))
        found[name] = jnp.max(magnitude)
        if name in norms:
            slot, centred = name.removesuffix("/in"), value - jnp.mean(value, axis=-1, keepdims=True)
            found[f"{slot}/squares"] = jnp.max(jnp.sum(jnp.square(centred), axis=-1))
            found[f"{slot}/channels"] = jnp.max(magnitude, axis=(0, 1))

    logits(architecture, parameters, inputs, Exact(observe))
    return found


def of_real(architecture: Architecture, value: Array, inputs: Mapping[str, Array]) -> Array:
    """Activations with zeros where a text is padded; of an image nothing is."""
    if not architecture.padded or value.ndim < 3:
        return value
    mask = inputs["mask"]
    if value.ndim == 3:
        return value * mask[..., None]
    return value * mask[:, None, :, None] * mask[:, None, None, :]
