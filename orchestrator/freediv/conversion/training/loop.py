"""The training loop: a phase of AdamW over planned batches, with the same result whether or not it is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...errors import UserError
from ...model import Parameters, in_precision
from ...progress import Meter
from ..run_directory import Pace, RunDirectory
from ..texts.batches import Batch
from .devices import devices
from .outlook import Outlook
from .phase import Array, Epoch, Phase, Trained
from .steps import Lowered, Program, Programs

STEPS_BETWEEN_REPORTS = 10


@dataclass
class _Record:
    """How far a phase has come; stands beside its arrays in a checkpoint. `sum` is the losses of the epoch so far."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    sum: float = 0.0
    seconds: float = 0.0
    held_out: list[float] = field(default_factory=list)

    def best(self) -> int:
        """The first epoch of the lowest loss on rows held out."""
        return self.held_out.index(min(self.held_out))


def train(
    phase: Phase,
    parameters: Mapping[str, Mapping[str, Any]],
    constants: Any,
    run: RunDirectory,
    programs: Programs,
    outlook: Outlook | None = None,
) -> Trained:
    """Run a phase from its last checkpoint in `run`, or from `parameters`; a finished phase is only read back.

    `programs` may hold the steps of a phase of this name that differs in its seed alone. With an `outlook`, how long
    all of the training takes is said in its first steps, and what is left of it after each epoch.

    Randomness depends on (seed, step) alone, so that an interrupted run ends with the parameters of one that was not
    (to the last bit where XLA adds in a fixed order: on one thread it does).

    Raises:
        UserError: the loss is not finite; with the step.
    """
    trained, frozen = _partition(phase, parameters)
    finished = run.load(phase.name, trained)
    if finished is None:
        state, record = _train(phase, trained, (frozen, constants), run, programs, outlook)
        found = run.load(_best(phase), trained) if phase.stopping else None
        result = jax.tree.map(np.asarray, state[0]) if found is None else found[0]
        run.save(phase.name, result, asdict(record))
        run.remove(_checkpoint(phase))
        run.remove(_best(phase))
    else:
        result, record = finished[0], _Record(**finished[1])
    return Trained(
        _merge(result, frozen), tuple(record.losses), record.seconds, tuple(record.held_out), len(phase.epochs)
    )


def first_step(phase: Phase, parameters: Mapping[str, Mapping[str, Any]]) -> tuple[Program, tuple[Any, ...]]:
    """The compiled step of a phase's first batch, and what the first step is given: parameters and moments, which it
    donates, what stays, the batch, a rate and a key. The loss reads no constants.
    """
    trained, frozen = _partition(phase, parameters)
    state, optimiser = _begin(phase, trained)
    fixed, key, data = devices().everywhere((frozen, None)), jax.random.key(phase.seed), phase.epochs[0]
    lower, *_ = _lowered(phase, state, fixed, key, optimiser).values()
    batch = data.plan.batch(0, data.sequences, data.targets, phase.pad_token)
    rate = np.float32(phase.schedule.learning_rate)
    return lower().compile(), (*state, fixed, devices().batch(batch, 0.0), rate, key)


def _begin(phase: Phase, parameters: Any) -> tuple[tuple[Any, Any], Any]:
    """Parameters and their moments before the first step, and the optimiser."""
    optimiser = _optimiser(phase, parameters)
    parameters = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), parameters)  # a copy, which the step donates
    return devices().everywhere((parameters, optimiser.init(parameters))), optimiser


def _train(
    phase: Phase, parameters: Any, fixed: Any, run: RunDirectory, programs: Programs, outlook: Outlook | None
) -> tuple[Any, _Record]:
    """Optimiser state and parameters after the last step, from the checkpoint if there is one."""
    total = sum(len(epoch.plan) for epoch in phase.epochs)
    state, optimiser = _begin(phase, parameters)
    record = _Record()
    found = run.load(_checkpoint(phase), state)
    if found is not None:
        # Copies: the step donates them, and a program out of JAX's cache would write into numpy's memory.
        state, record = devices().everywhere(jax.tree.map(jnp.array, found[0])), _Record(**found[1])
    fixed = devices().everywhere(fixed)
    key = jax.random.key(phase.seed)
    clock, pace = _Clock(), Pace()
    steps = programs.get(phase.name, _lowered(phase, state, fixed, key, optimiser))
    pending: list[Array] = []
    _judge(phase, state[0], fixed[0], record, run)  # an epoch that was cut off when it was judged
    outlook = outlook or Outlook({})
    outlook.begin(phase.name, record.step)
    with Meter(phase.name, total, record.step) as meter:
        try:
            while record.step < total and not _enough(phase, record):
                epoch, index = _locate(phase.epochs, record.step)
                data = phase.epochs[epoch]
                batch = data.plan.batch(index, data.sequences, data.targets, phase.pad_token)
                arrays = devices().batch(batch, record.step / total)
                rate = np.float32(phase.schedule.rate(record.step, total))
                random = jax.random.fold_in(key, record.step)
                *state, loss = steps[batch.length](*state, fixed, arrays, rate, random)
                record.step += 1
                pending.append(loss)
                clock.tokens += batch.tokens
                epoch_ends = index + 1 == len(data.plan)
                if len(pending) == STEPS_BETWEEN_REPORTS or epoch_ends:
                    _settle(phase, record, pending, clock)
                    note = f"loss {record.sum / (index + 1):.4f}  {clock.tokens_per_second:,.0f} tokens/s"
                    meter.update(record.step, note)
                    meter.line(outlook.first(record.step))
                    if epoch_ends:
                        record.losses.append(record.sum / len(data.plan))
                        record.sum = 0.0
                        told = f"{phase.name}: epoch {epoch + 1}/{len(phase.epochs)}  loss {record.losses[-1]:.4f}"
                        meter.line(f"{told}  {outlook.left(record.step)}".rstrip())
                    _judge(phase, state[0], fixed[0], record, run)
                    if epoch_ends and phase.stopping:
                        meter.line(f"{phase.name}: held-out rows  loss {record.held_out[-1]:.4f}")
                    if pace.due or (epoch_ends and phase.stopping):
                        with pace.saving():
                            run.save(_checkpoint(phase), tuple(state), asdict(record))
                        clock.read()  # its time is no step's
        except KeyboardInterrupt:
            _settle(phase, record, pending, clock)
            run.save(_checkpoint(phase), tuple(state), asdict(record))
            raise
    return state, record


def _lowered(phase: Phase, state: Any, fixed: Any, key: Array, optimiser: Any) -> dict[int, Callable[[], Lowered]]:
    """What traces the step, for each length that batches are padded to."""
    step = _step(phase, optimiser)
    first: dict[int, Batch] = {}
    for epoch in phase.epochs:
        for index, (length, _) in enumerate(epoch.plan.batches):
            if length not in first:
                first[length] = epoch.plan.batch(index, epoch.sequences, epoch.targets, phase.pad_token)

    def lower(batch: Batch) -> Lowered:
        return step.lower(*state, fixed, devices().batch(batch, 0.0), np.float32(0.0), key)

    return {length: partial(lower, batch) for length, batch in first.items()}


class _Clock:
    """Seconds since it was last read, and tokens per second meanwhile."""

    def __init__(self) -> None:
        self._read = time.monotonic()
        self.tokens = 0
        self.tokens_per_second = 0.0

    def read(self) -> float:
        now = time.monotonic()
        seconds, self._read = now - self._read, now
        self.tokens_per_second, self.tokens = self.tokens / max(seconds, 1e-9), 0
        return seconds


def _settle(phase: Phase, record: _Record, pending: list[Array], clock: _Clock) -> None:
    """Wait for the steps under way, and take their losses and their time into the record."""
    values = [float(value) for value in pending]
    pending.clear()
    if not np.all(np.isfinite(values)):
        raise UserError(f"{phase.name}: the loss is not finite near step {record.step}; lower the learning rate")
    record.sum += sum(values)
    record.seconds += clock.read()


def _judge(phase: Phase, trained: Any, frozen: Any, record: _Record, run: RunDirectory) -> None:
    """Measure an epoch on rows held out that has not been yet, and keep what is best so far."""
    if phase.stopping is None or len(record.held_out) == len(record.losses):
        return
    record.held_out.append(phase.stopping.loss(jax.tree.map(np.array, _merge(trained, frozen))))
    if record.best() == len(record.held_out) - 1:
        run.save(_best(phase), trained, {})


def _enough(phase: Phase, record: _Record) -> bool:
    """Whether no epoch was better for as long as it is to be waited for."""
    if phase.stopping is None or not record.held_out:
        return False
    return len(record.held_out) - 1 - record.best() >= phase.stopping.patience


def _best(phase: Phase) -> str:
    return f"{phase.name}.best"


def _checkpoint(phase: Phase) -> str:
    return f"{phase.name}.checkpoint"


def _partition(phase: Phase, parameters: Mapping[str, Mapping[str, Any]]) -> tuple[Any, Any]:
    """Trained and frozen parameters: a frozen one costs neither a gradient nor the optimiser's moments, and what lies
    before all that are trained keeps nothing for a gradient.
    """
    trained = {s: {n: leaf for n, leaf in own.items() if phase.rate(s, n)} for s, own in parameters.items()}
    frozen = {s: {n: leaf for n, leaf in own.items() if not phase.rate(s, n)} for s, own in parameters.items()}
    return trained, frozen


def _merge(trained: Any, frozen: Any) -> Any:
    return {stage: own | frozen[stage] for stage, own in trained.items()}


def _optimiser(phase: Phase, parameters: Any) -> Any:
    """The schedule's optimiser, for a learning rate of 1."""
    schedule = phase.schedule
    rates = {stage: {name: float(phase.rate(stage, name)) for name in own} for stage, own in parameters.items()}
    decays = {stage: {name: leaf.ndim > 1 for name, leaf in own.items()} for stage, own in parameters.items()}

    def scaled(updates: Parameters) -> Parameters:
        return jax.tree.map(lambda update, rate: update * rate, updates, rates)

    optimiser = optax.chain(
        optax.clip_by_global_norm(schedule.clip),
        optax.scale_by_adam(schedule.beta1, schedule.beta2),
        optax.add_decayed_weights(schedule.weight_decay, decays),
        optax.stateless(lambda updates, _: scaled(updates)),
        optax.scale(-1.0),
    )
    return optimiser if schedule.accumulate == 1 else optax.MultiSteps(optimiser, schedule.accumulate)


def _step(phase: Phase, optimiser: Any) -> Any:
    @partial(jax.jit, donate_argnums=(0, 1), out_shardings=devices().whole)
    def step(
        parameters: Parameters, state: Any, fixed: Any, batch: Mapping[str, Array], rate: Array, key: Array
    ) -> Any:
        frozen, constants = fixed

        def of_trained(trained: Parameters) -> Array:
            return phase.loss(_merge(trained, frozen), constants, batch, key)

        with in_precision(phase.precision):
            value, gradient = jax.value_and_grad(of_trained)(parameters)
        updates, state = optimiser.update(gradient, state, parameters)
        # The rate is an argument, so that runs of another length or seed are the same program.
        return optax.apply_updates(parameters, optax.tree.scale(rate, updates)), state, value

    return step


def _locate(epochs: tuple[Epoch, ...], step: int) -> tuple[int, int]:
    """Epoch and batch within it of a step."""
    for number, epoch in enumerate(epochs):
        if step < len(epoch.plan):
            return number, step
        step -= len(epoch.plan)
    raise IndexError(step)
