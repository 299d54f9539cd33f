"""How far a student's intermediate values stay from the edge of the ring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ...model import Architecture, Certificate, Model, Parameters, answer, fold, prepare_inputs, stages
from ...model.blocks import blocks_of
from ...model.checkpoints.certificate import FRACTION_BITS, capacity_bits
from ...model.functions.norms.layernorm import LARGEST_VARIANCE
from ...progress import Meter
from ..texts.batches import plan_batches

CAPACITY_BITS = capacity_bits(FRACTION_BITS)


@dataclass(frozen=True)
class Headroom:
    """`bits` between the largest magnitude seen and the edge of the ring; `largest` is that magnitude, by stage;
    `length` that of the longest texts, as they were padded.

    Of `count` texts so many are `without_answer`: a row was beyond its limit, and the answer says so. Their values,
    which may wrap around unread, are not counted.
    """

    bits: float
    largest: dict[str, float]
    count: int = 0
    without_answer: int = 0
    length: int = 1

    @property
    def certificate(self) -> Certificate:
        """What a model may ship with."""
        return Certificate(headroom_bits=round(self.bits, 2), fraction_bits=FRACTION_BITS, length=self.length)


def headroom_of(largest: dict[str, float], count: int = 0, without_answer: int = 0, length: int = 1) -> Headroom:
    """Headroom of the largest magnitudes seen, by stage; negative where a value would wrap around."""
    return Headroom(bits_of(max(largest.values())), largest, count, without_answer, length)


def bits_of(magnitude: float) -> float:
    """Bits between a magnitude and the edge of the ring; negative where it would wrap around.

    What is beyond float32 counts as its edge, so that there is a number to write down.
    """
    return CAPACITY_BITS - math.log2(min(max(magnitude, 2.0**-FRACTION_BITS), 2.0**128))


def squares_per_variance(width: int) -> float:
    """What a variance in rows so wide is counted as, times itself: the row's sum of squares; in narrow rows more.
    Parties take the root of that sum over the next power of two, which may be nearer to the largest that has one than
    to the ring's edge.
    """
    divided = 2.0 ** math.ceil(math.log2(width))
    return width * max(1.0, 2.0**CAPACITY_BITS / (LARGEST_VARIANCE * divided))


def measure_headroom(model: Model, sequences: Sequence[np.ndarray], task: str = "headroom") -> Headroom:
    """Run the folded model, which is what a secure run computes, and keep each stage's largest magnitude.

    Padded positions count: a secure run computes them too. The mean square that a norm takes is counted as the sum of
    squares that it is before it is divided, or as so much more as it comes closer to the largest that has a root.
    """
    architecture = model.architecture
    parameters = fold(architecture, model.parameters)
    # The lengths that a secure run pads to, so that padding is seen as it will be; and what no bucket holds.
    pad_to = np.array(sorted({*architecture.buckets, architecture.positions}))
    plan = plan_batches([len(sequence) for sequence in sequences], tokens_per_batch=1024, pad_to=pad_to)
    found = {stage.name: 0.0 for stage in stages(architecture)}
    without_answer = 0
    with Meter(task, len(plan)) as meter:
        for index in range(len(plan)):
            batch = plan.batch(index, sequences, None, architecture.pad_token)
            inputs = prepare_inputs(architecture, batch.read, batch.mask, table=model.public_table)
            values, within = _largest(architecture, parameters, inputs | {"mask": batch.mask})
            found = {name: max(found[name], float(value)) for name, value in values.items()}
            without_answer += int(np.sum(~np.asarray(within)[batch.weight > 0]))
            meter.update(index + 1)
    return headroom_of(found, len(sequences), without_answer, max((length for length, _ in plan.batches), default=1))


@partial(jax.jit, static_argnums=0)
def _largest(
    architecture: Architecture, parameters: Parameters, inputs: Mapping[str, jax.Array]
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Each stage's largest magnitude over the texts that get an answer, infinite where a value is not even a number;
    and which do [batch].
    """
    widths = {block.name: block.normed_width for block in blocks_of(architecture)}
    seen: dict[str, jax.Array] = {stage.name: jnp.zeros(()) for stage in stages(architecture)}

    def observe(name: str, value: jax.Array) -> None:
        stage, what = name.split("/", 1)
        scale = squares_per_variance(widths[stage]) if what == "variance" else 1
        seen[stage] = jnp.maximum(seen[stage], scale * jnp.max(jnp.abs(value), axis=tuple(range(1, value.ndim))))

    _, within = answer(architecture, parameters, inputs, observe)
    largest = {stage: jnp.where(jnp.isnan(value), jnp.inf, value) for stage, value in seen.items()}
    return {stage: jnp.max(jnp.where(within, value, 0.0)) for stage, value in largest.items()}, within
