"""What each slot of each layer can bear, before any training: by how much a choice there changes what comes after.

**Signal to noise.** Of rows x and what they have become y, in decibels: 20 log10(mean(|x| / |x - y|)), over real rows
by their Euclidean length. A slot's sensitivity to a choice is how much of it the slot loses: at the rows that its block
reads, less at those that it leaves, in a student that has the choice in all layers, beside its teacher (Kim et al.
2024, arXiv 2407.18437, "Mixed non-linear quantization for vision transformers"; reconstructed: they measure at the
function, which says nothing of functions that stand for each other as a part of a block alone).

**Alone**: the same where the block reads the teacher's own rows, and nothing came in damaged.

**Divergence**: how far the teacher's answers are from those that it gives with the choice in this slot of this layer,
and nothing else changed.

Constants are calibrated, and heads and neurons chosen, as `convert` does it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ...model import (
    Architecture,
    LayerSizes,
    Model,
    Parameters,
    Reader,
    Stage,
    convert_functions,
    hidden_states,
    stages,
)
from ...model.answers import answer_of
from ...model.masks import made_of_mask
from ...progress import Meter
from ..texts.batches import Batch, padding_lengths, plan_batches
from .calibration import calibrate, calibrate_norms
from .choices import Choice
from .distillation import with_roots
from .replacement import make_student

Array = jax.Array
Rows = Mapping[str, Array]
_CLEANEST = 1e6  # of |x| / |x - y|, where they hardly differ
_SHAPES = 2


@dataclass(frozen=True)
class Sensitivity:
    """What one choice does to one layer; decibels, None where rows are fewer than the teacher's.

    Attributes:
        layer: of the teacher.
        slot, value: the choice.
        lost: of the ratio of signal to noise, between what the block reads and what it leaves.
        alone: the ratio at what it leaves, of undamaged rows.
        divergence: of the answers, as the kind of answer measures a student's distance from its teacher.
    """

    layer: int
    slot: str
    value: str | int
    lost: float | None
    alone: float | None
    divergence: float

    def to_dict(self) -> dict[str, object]:
        """One object of `--json`."""
        return asdict(self)


def measure_sensitivity(
    teacher: Model, reader: Reader, sequences: Sequence[np.ndarray], choices: Sequence[Choice]
) -> Iterator[list[Sensitivity]]:
    """Of every choice, a teacher's sensitivity in each layer.

    Args:
        teacher: one whose layers are alike.
        reader: its own.
        sequences: texts in its word pieces.
        choices: some of `choices_of`.
    """
    with Meter("choices", len(choices)) as meter:
        bench = _Bench(teacher, sequences)
        for number, choice in enumerate(choices, start=1):
            yield bench.measure(choice, reader)
            meter.update(number)


class _Bench:
    """A teacher's rows on some texts, and what becomes of them."""

    def __init__(self, teacher: Model, sequences: Sequence[np.ndarray]) -> None:
        self._teacher, self._sequences = teacher, sequences
        lengths = [len(one) for one in sequences]
        self._plan = plan_batches(lengths, tokens_per_batch=2048, pad_to=padding_lengths(lengths, _SHAPES))
        self._steps: dict[object, jax.stages.Wrapped] = {}
        pad = teacher.architecture.pad_token
        self._batches = [self._plan.batch(index, sequences, None, pad) for index in range(len(self._plan))]
        run = jax.jit(partial(_rows_and_logits, teacher.architecture))
        self._known = [run(teacher.parameters, batch.inputs) for batch in self._batches]

    def measure(self, choice: Choice, reader: Reader) -> list[Sensitivity]:
        student = self._student(choice, reader)
        layers = range(self._teacher.architecture.layers)
        lost = self._lost(student, choice) if choice.slot != "pool" else {}
        found = []
        for layer in layers:
            name = f"encoder.{layer}.{choice.stage}"
            alone, divergence = self._alone(self._with(choice, layer, student), name)
            there = choice.slot != "pool"
            found.append(
                Sensitivity(layer, choice.slot, choice.value, lost.get(name), alone if there else None, divergence)
            )
        return found

    def _student(self, choice: Choice, reader: Reader) -> Model:
        teacher = self._teacher
        recipe = choice.as_recipe(teacher.architecture)
        student = make_student(teacher, reader, list(self._sequences), recipe)
        model = calibrate(student, teacher, self._sequences, self._plan, fit=True)
        exact = with_roots(model.architecture)
        return model if exact == model.architecture else calibrate_norms(model, exact, self._sequences)

    def _with(self, choice: Choice, layer: int, student: Model) -> Model:
        """The teacher with a layer of a student that has the choice in all."""
        a, own = self._teacher.architecture, student.architecture
        functions, sizes = list(a.functions), [a.size_of(number) for number in range(a.layers)]
        functions[layer], sizes[layer] = own.functions[layer], own.size_of(layer)
        changes = {
            "functions": tuple(functions),
            "sizes": tuple(sizes) if any(s != LayerSizes() for s in sizes) else (),
        }
        parameters = dict(self._teacher.parameters)
        parameters |= {name: p for name, p in student.parameters.items() if name.startswith(f"encoder.{layer}.")}
        return convert_functions(replace(self._teacher, parameters=parameters), **changes)

    def _alone(self, model: Model, name: str) -> tuple[float, float]:
        """Decibels where a stage leaves its rows, and how far answers diverge."""
        all_stages = stages(model.architecture)
        first = next(number for number, stage in enumerate(all_stages) if stage.name == name)
        before = all_stages[first - 1].name
        answer, ratio, distance, texts = answer_of(model.architecture), _Ratio(), 0.0, 0.0
        for batch, (rows, logits) in zip(self._batches, self._known, strict=True):
            values = dict(made_of_mask(model.architecture, jnp.asarray(batch.mask))) | {"hidden": rows[before]}
            for stage in all_stages[first:]:
                values[stage.output] = self._step(stage)(
                    model.parameters[stage.name], *(values[read] for read in stage.inputs)
                )
                if stage.name == name and values["hidden"].shape == rows[before].shape:
                    ratio.add(rows[name], values["hidden"], batch)
            each = np.asarray(answer.distance(values["logits"], logits, jnp.asarray(batch.mask)), np.float64)
            distance, texts = distance + float(each @ batch.weight), texts + float(batch.weight.sum())
        return ratio.decibels, distance / texts

    def _lost(self, student: Model, choice: Choice) -> dict[str, float]:
        """Decibels that each of the blocks with the choice loses, one after another."""
        run = jax.jit(partial(_rows_and_logits, student.architecture))
        ratios: dict[str, _Ratio] = {}
        for batch, (rows, _) in zip(self._batches, self._known, strict=True):
            found, _ = run(student.parameters, batch.inputs)
            for name, own in found.items():
                if name != "classifier":
                    ratios.setdefault(name, _Ratio()).add(rows[name], own, batch)
        names = list(ratios)
        return {
            name: ratios[names[number - 1]].decibels - ratios[name].decibels
            for number, name in enumerate(names)
            if name.endswith(f".{choice.stage}")
        }

    def _step(self, stage: Stage) -> jax.stages.Wrapped:
        """Stages of one signature are one program."""
        if stage.signature not in self._steps:
            self._steps[stage.signature] = jax.jit(stage.apply)
        return self._steps[stage.signature]


class _Ratio:
    """Of signal to noise, over real rows of batches."""

    def __init__(self) -> None:
        self._total = self._count = 0.0

    def add(self, wanted: Array, found: Array, batch: Batch) -> None:
        x, y = np.asarray(wanted, np.float64), np.asarray(found, np.float64)
        real = batch.mask * batch.weight[:, None]
        signal, noise = np.linalg.norm(x, axis=-1), np.linalg.norm(x - y, axis=-1)
        self._total += float((np.minimum(signal / np.maximum(noise, 1e-30), _CLEANEST) * real).sum())
        self._count += float(real.sum())

    @property
    def decibels(self) -> float:
        return 20 * math.log10(max(self._total / max(self._count, 1.0), 1e-30))


def _rows_and_logits(
    architecture: Architecture, parameters: Parameters, inputs: Rows
) -> tuple[dict[str, Array], Array]:
    """What every stage but the last leaves, by its name, and logits."""
    seen: dict[str, Array] = {}
    _, logits = hidden_states(architecture, parameters, inputs, observe=seen.__setitem__)
    names = [stage.name for stage in stages(architecture)[:-1]]
    return {name: seen[f"{name}/output"] for name in names}, logits
