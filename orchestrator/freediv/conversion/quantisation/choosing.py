"""Which method loses least in each slot: Kim et al. 2024.

Of a model in floating point and one in integers, with one method in all slots, the same batches: at what each slot
reads and leaves, the ratio of signal to noise in decibels, 20 log10(mean(|x| / |x - y|)), rows by their Euclidean
length. A slot's sensitivity to a method is the ratio where it reads less the ratio where it leaves: what it loses
itself, apart from what came in damaged. The smallest is chosen; of GELU among the methods that have one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ...model import Architecture, Model
from ...progress import Meter
from ..texts.batches import Batch
from . import METHODS
from .arithmetic import Exact, Integers
from .encoder import Parameters, logits, slots
from .ranges import Ranges, of_real

Array = jax.Array
_CLEANEST = 1e3
"""Of |x| / |x - y|, at most: a row that a method keeps to the last bit would be all that a mean tells."""


@dataclass(frozen=True)
class Chosen:
    """Of a slot: decibels that each method loses there, and the method that loses least."""

    slot: str
    lost: Mapping[str, float]
    method: str

    def to_dict(self) -> dict[str, object]:
        """One object of `--json`."""
        return asdict(self)


def choose_methods(model: Model, batches: Sequence[Batch], ranges: Ranges, bits: int) -> list[Chosen]:
    """The choice for every slot, in the order in which they run."""
    found = {name: _lost(model, batches, ranges, bits, name) for name in METHODS}
    chosen = []
    for slot, kind in slots(model.architecture):
        known = [name for name, method in METHODS.items() if kind != "gelu" or method.gelu is not None]
        lost = {name: found[name][slot] for name in known}
        chosen.append(Chosen(slot, lost, min(lost, key=lost.__getitem__)))
    return chosen


def everywhere(architecture: Architecture, method: str) -> dict[str, str]:
    """One method in all slots."""
    return {slot: method for slot, _ in slots(architecture)}


def _lost(model: Model, batches: Sequence[Batch], ranges: Ranges, bits: int, method: str) -> dict[str, float]:
    architecture = model.architecture
    total: dict[str, np.ndarray] = {}
    run = jax.jit(partial(_ratios, architecture, everywhere(architecture, method), bits))
    with Meter(f"{method}: signal to noise", len(batches)) as meter:
        for number, batch in enumerate(batches, start=1):
            for name, (ratio, count) in run(model.parameters, ranges, batch.inputs, batch.weight).items():
                before = total.get(name, np.zeros(2))
                total[name] = before + np.array([float(ratio), float(count)])
            meter.update(number)
    decibels = {name: 20 * math.log10(ratio / count) for name, (ratio, count) in total.items()}
    return {slot: decibels[f"{slot}/in"] - decibels[f"{slot}/out"] for slot, _ in slots(architecture)}


def _ratios(
    architecture: Architecture,
    methods: Mapping[str, str],
    bits: int,
    parameters: Parameters,
    ranges: Mapping[str, Array],
    inputs: Mapping[str, Array],
    weight: Array,
) -> dict[str, tuple[Array, Array]]:
    """At what each slot reads and leaves, the sum of ratios over rows, and how many rows there are."""
    clean: dict[str, Array] = {}
    noisy: dict[str, Array] = {}
    logits(architecture, parameters, inputs, Exact(clean.__setitem__))
    logits(architecture, parameters, inputs, Integers(bits, methods, ranges, noisy.__setitem__))
    found = {}
    for slot, _ in slots(architecture):
        for name in (f"{slot}/in", f"{slot}/out"):
            x, y = (of_real(architecture, of[name], inputs) for of in (clean, noisy))
            signal, noise = jnp.linalg.norm(x, axis=-1), jnp.linalg.norm(x - y, axis=-1)
            counts = (signal > 0) * weight.reshape(-1, *[1] * (signal.ndim - 1))
            ratio = jnp.minimum(signal / jnp.maximum(noise, 1e-30), _CLEANEST)
            found[name] = (jnp.sum(ratio * counts), jnp.sum(counts))
    return found
