"""A classifier in 8 or 6 bits with published integer functions: calibrated, chosen, trained alike, measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np

from ...errors import UserError
from ...model import Architecture, Model, Parameters, read_reader
from ...model.answers import answer_of
from ...progress import Meter
from ..measures.evaluation import Evaluation, evaluate_answers
from ..run_directory import RunDirectory
from ..texts.batches import plan_batches
from ..texts.examples import Examples
from ..texts.pairing import as_read
from ..training.epochs import Mixture, draw_epochs, with_labels
from ..training.loop import train
from ..training.losses import inputs_of
from ..training.phase import Loss, Phase, Schedule
from ..training.steps import Programs
from . import METHODS, MIXED
from .arithmetic import Integers
from .choosing import Chosen, choose_methods, everywhere
from .encoder import logits, require_known
from .ranges import Ranges, batches_of, calibrate_ranges
from .wide import wide_numbers

Array = jax.Array
ALL = (*METHODS, MIXED)
_TOKENS = 2048
_SHAPES = 2


@dataclass(frozen=True)
class Setting:
    """How a model is quantised: bits, the method of each slot, and the ranges of all places."""

    bits: int
    method: str
    methods: Mapping[str, str]
    ranges: Ranges


@dataclass(frozen=True)
class Training:
    """What every method gets alike: AdamW from the model's own weights, on its labels, straight through rounding."""

    epochs: int = 3
    learning_rate: float = 1e-4
    tokens_per_batch: int = 1024
    seed: int = 0
    seeds: int = 1


@dataclass(frozen=True)
class Quantised:
    """One method: its setting, why (of the mixed choice), accuracy before training and after each seed's, and what the
    first seed made.
    """

    setting: Setting
    chosen: Sequence[Chosen]
    before: Evaluation
    after: Sequence[Evaluation]
    model: Model

    def to_dict(self) -> dict[str, object]:
        """One object of `--json`."""
        return {
            "method": self.setting.method,
            "bits": self.setting.bits,
            "before": self.before.to_dict(),
            "after": [one.to_dict() for one in self.after],
            "chosen": [one.to_dict() for one in self.chosen],
        }


def quantise(
    model: Model, kept: Examples, measured: Examples, bits: int, methods: Sequence[str], training: Training
) -> Iterator[Quantised]:
    """The model with each of the methods, in their order.

    Args:
        model: one that was read from a directory.
        kept: labelled rows to calibrate and train on.
        measured: labelled rows to measure on.
        bits: of weights and activations; residuals have 16.
        methods: some of `ALL`.
        training: the same for each.

    Raises:
        UserError: the model has functions that no method has, or a row has a label that it does not know.
    """
    assert model.directory is not None
    require_known(model.architecture, model.directory)
    if kept.labels is None:
        raise UserError(f"{kept.source}: has no labels, by which the model is trained; give rows with labels")
    reader = read_reader(model.directory)
    model = as_read(model, kept.texts, kept.source)
    sequences = reader.sequences(kept.texts, model.architecture)
    with wide_numbers():
        batches = batches_of(model, sequences, training.seed)
        ranges = calibrate_ranges(model, batches)
        for method in methods:
            chosen: Sequence[Chosen] = ()
            if method == MIXED:
                chosen = choose_methods(model, batches, ranges, bits)
                slots = {one.slot: one.method for one in chosen}
            else:
                slots = everywhere(model.architecture, method)
            setting = Setting(bits, method, slots, ranges)
            yield _trained(model, setting, chosen, kept, measured, sequences, training)


def evaluate_quantised(model: Model, setting: Setting, examples: Examples, task: str = "evaluate") -> Evaluation:
    """How good the answers of a model in integers are."""
    with wide_numbers():
        return _evaluate(model, examples, _run(model.architecture, setting), setting.ranges, task)


def _trained(
    model: Model,
    setting: Setting,
    chosen: Sequence[Chosen],
    kept: Examples,
    measured: Examples,
    sequences: Sequence[np.ndarray],
    training: Training,
) -> Quantised:
    name, run, programs = f"{setting.method}, {setting.bits} bits", _run(model.architecture, setting), Programs()
    before = _evaluate(model, measured, run, setting.ranges, f"evaluate: {name}")
    after, first = [], model
    for seed in range(training.seed, training.seed + training.seeds):
        trained = _train(model, setting, kept, sequences, replace(training, seed=seed), name, programs)
        first = trained if seed == training.seed else first
        after.append(_evaluate(trained, measured, run, setting.ranges, f"evaluate: {name}"))
    return Quantised(setting, chosen, before, after, first)


def _train(
    model: Model,
    setting: Setting,
    kept: Examples,
    sequences: Sequence[np.ndarray],
    training: Training,
    name: str,
    programs: Programs,
) -> Model:
    if not training.epochs:
        return model
    architecture = model.architecture
    mixture = Mixture(None, 0.0, architecture.positions, training.tokens_per_batch, _SHAPES)
    rows = draw_epochs(sequences, architecture.separator_token, training.epochs, mixture, (training.seed,))
    assert kept.labels is not None
    phase = Phase(
        name=name,
        loss=_loss(architecture, setting),
        epochs=with_labels(rows, kept.labels),
        schedule=Schedule(training.learning_rate, weight_decay=0.0, beta2=0.999),
        pad_token=architecture.pad_token,
        seed=training.seed,
    )
    with TemporaryDirectory() as directory, RunDirectory(Path(directory) / "run", {}) as run:
        trained = train(phase, model.parameters, setting.ranges, run, programs)
    return replace(model, parameters=trained.parameters)


def _loss(architecture: Architecture, setting: Setting) -> Loss:
    answer = answer_of(architecture)

    def loss(parameters: Parameters, ranges: Mapping[str, Array], batch: Mapping[str, Array], key: Array) -> Array:
        arithmetic = Integers(setting.bits, setting.methods, ranges)
        found = logits(architecture, parameters, inputs_of(batch), arithmetic)
        each = answer.loss(found, batch["targets"], batch["mask"])
        return (each * batch["weight"]).sum() / batch["weight"].sum()

    return loss


def _run(architecture: Architecture, setting: Setting) -> jax.stages.Wrapped:
    def run(parameters: Parameters, ranges: Mapping[str, Array], inputs: Mapping[str, Array]) -> Array:
        return logits(architecture, parameters, inputs, Integers(setting.bits, setting.methods, ranges))

    return jax.jit(run)


def _evaluate(model: Model, examples: Examples, run: jax.stages.Wrapped, ranges: Ranges, task: str) -> Evaluation:
    architecture = model.architecture
    assert model.directory is not None and examples.labels is not None
    sequences = read_reader(model.directory).sequences(examples.texts, architecture)
    lengths = [len(one) for one in sequences]
    plan = plan_batches(lengths, tokens_per_batch=_TOKENS)
    found = np.zeros((len(sequences), architecture.labels), np.float32)
    with Meter(task, len(plan)) as meter:
        for index, (_, rows) in enumerate(plan.batches):
            batch = plan.batch(index, sequences, None, architecture.pad_token)
            found[rows] = np.asarray(run(model.parameters, ranges, batch.inputs))[: len(rows)]
            meter.update(index + 1)
    answers = answer_of(architecture).plain(architecture, found)
    return evaluate_answers(architecture, answers, np.asarray(examples.labels), lengths)
