"""What a student's blocks can be given before any training, from the first to the last, each to be like the teacher's.

**Shifts of a squared attention.** A softmax does not see what all scores of a row have in common, and (s + c)^2 does.
Around the mean m of a head's scores it grows as the exponential does where 2 / (m + c) = 1: c = 2 - m.

**Last maps.** A block adds F W + b to what it reads; F [rows, n] are what its heads or neurons hold, of which other
functions make something else than the teacher's. Let R [rows, width] be what the teacher's block leaves before its
norm, less what the student's does. W and b change by the D and d that minimise

    |F D + 1 d - R|^2 + ridge * mean(diag(F'F)) * (|D|^2 + |d|^2)

over the real rows of training texts (ridge regression: Hoerl and Kennard 1970). The student's rows come through the
blocks before, which have been fitted, so that each makes up for what they left over, too; pruned networks are repaired
likewise (He et al. 2017, "Channel pruning", section 3.1).

**Blocks by themselves.** Then all of a block is trained to leave what the teacher's leaves, from the rows that reach it
(block by block, as Li et al. 2021, "BRECQ", reconstruct quantised ones). What an optimiser does to one block no other
amplifies, so that rates can be twenty times those of the whole; and no teacher runs beside its steps. At the end the
classifier is trained by itself, too, on what the last of these blocks leaves, to answer what the teacher answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ...model import Architecture, Model, Precision, Stage, in_precision, stages
from ...model.answers import answer_of
from ...model.blocks import Block, blocks_of
from ...model.blocks.attention import Attention
from ...model.blocks.feed_forward import FeedForward
from ...model.blocks.residual import ResidualBlock
from ...model.functions.pooling import Pool, of_pooled, pooled
from ...model.stages import made_of_inputs, run_stage
from ...progress import Meter
from ..run_directory import Pace, RunDirectory
from ..training.losses import mean_distance, over_real, taught_states
from ..training.phase import Epoch, Schedule
from .distillation import Rates, with_roots
from .recipe import Recipe
from .replacement import Student

Array = jax.Array
Distance = Callable[[Architecture, Array, Array, Mapping[str, Array]], Array]
"""(architecture, what a stage makes of a batch, what is wanted, its mask and weight) -> scalar."""
CHECKPOINT = "refit"
_CLASSIFIER_STEPS = 3000
"""Each takes next to nothing, as what the classifier reads is there."""
_SCHEDULE = Schedule(1.0, warmup_steps=30)
_SMALLEST_SHIFT = 1.0
"""Where a head's scores are large, most of them would lie below -c, and grow as they fall."""


def refit(student: Student, teacher: Model, texts: Epoch, recipe: Recipe, run: RunDirectory | None = None) -> Model:
    """A calibrated student, refitted as its recipe says on texts in its word pieces; with the roots of its norms, where
    it will lose them.

    A layer behind which layers of the teacher are left out keeps its feed-forward block: what comes next is not what
    the teacher's block leaves. With a `run`, blocks that were fitted before an interruption are not fitted again.
    """
    settings = recipe.refit
    assert settings is not None
    plan, pad = texts.plan, student.model.architecture.pad_token
    batches = [plan.batch(index, texts.sequences, None, pad) for index in range(len(plan))]
    exact = replace(student.model, architecture=with_roots(student.model.architecture))
    weights = [batch.weight for batch in batches]
    own = _Texts(exact, [batch.inputs for batch in batches], weights, recipe.precision)
    beside = _Texts(teacher, [student.as_teachers(batch.inputs) for batch in batches], weights, recipe.precision)
    fits = _within(settings.pieces, [batch.tokens for batch in batches])
    rates = Rates(exact.architecture, recipe, student.layers, trains_classifier=True)
    fitted, pace = 0, Pace()
    if run is not None and (known := run.load(CHECKPOINT, own.parameters)) is not None:
        own.parameters, fitted = known[0], known[1]["stages"]
    *encoder, classifier = own.ahead
    with Meter("refit", len(encoder) + 1) as meter:
        for done, stage in enumerate(encoder, start=1):
            name = _teachers(own.blocks[stage.name], student.layers, teacher)
            if name is not None and done > fitted:
                before_norm, left = beside.left_by(name, stage.pools, fits)
                if _attends_otherwise(stage, student, teacher):
                    own.shift(stage)
                own.fit(stage, before_norm, settings.ridge)
                if settings.trained:
                    own.train(stage, left, _squared_error, rates, settings.learning_rate, settings.epochs)
            own.go(stage)
            if run is not None and pace.due:
                with pace.saving():
                    run.save(CHECKPOINT, own.parameters, {"stages": done})
            meter.update(done)
        if settings.trained and classifier.parameter_shapes:
            epochs = -(-_CLASSIFIER_STEPS // len(batches))
            own.train(classifier, beside.answered(), _distance, rates, settings.learning_rate, epochs)
        meter.update(len(encoder) + 1)
    return replace(student.model, parameters=own.parameters)


def _teachers(block: Block, layers: Sequence[int], teacher: Model) -> str | None:
    """The teacher's stage that a block of the student is to be like, which has these layers of it; None: none is."""
    if not isinstance(block, ResidualBlock) or block.layer is None:
        return None
    same, states = layers[block.layer], taught_states(layers, teacher.architecture)
    if isinstance(block, FeedForward) and states[block.layer + 1] != same + 1:
        return None
    return f"encoder.{same}.{block.kind}"


def _within(pieces: int, tokens: Sequence[int]) -> int:
    """How many batches of so many `tokens` have these word pieces; one at least."""
    return int(np.searchsorted(np.cumsum(tokens) - tokens, pieces))


def _attends_otherwise(stage: Stage, student: Student, teacher: Model) -> bool:
    """Whether a stage's layer has another attention than in the teacher, whose constants it would keep."""
    if stage.layer is None:
        return False
    own, given = student.model.architecture.functions, teacher.architecture.functions
    return own[stage.layer].attention != given[student.layers[stage.layer]].attention


def _squared_error(architecture: Architecture, found: Array, wanted: Array, batch: Mapping[str, Array]) -> Array:
    return over_real(jnp.mean(jnp.square(found - wanted), axis=-1), batch["mask"], batch)


def _distance(architecture: Architecture, found: Array, wanted: Array, batch: Mapping[str, Array]) -> Array:
    return mean_distance(answer_of(architecture), found, wanted, batch)


class _Texts:
    """Texts on their way through a model, batch by batch.

    Attributes:
        parameters: unfolded; those of a stage that is fitted are others from then on.
        blocks: by the names of their stages.
        ahead: the stages to go through.
    """

    def __init__(
        self,
        model: Model,
        inputs: Sequence[Mapping[str, np.ndarray]],
        weights: Sequence[np.ndarray],
        precision: Precision,
    ) -> None:
        self._architecture, self._precision = model.architecture, precision
        self.blocks = {block.name: block for block in blocks_of(model.architecture)}
        self._values = [made_of_inputs(model.architecture, one) for one in inputs]
        self._weights, self._programs = weights, dict[Hashable, jax.stages.Wrapped]()
        self.parameters = {stage: dict(own) for stage, own in model.parameters.items()}
        self.ahead = list(stages(model.architecture))

    def go(self, stage: Stage) -> None:
        """Through a stage, with all batches."""
        for values in self._values:
            values[stage.output], _ = self._run(stage, values)

    def left_by(self, name: str, pools: Sequence[Pool], fits: int) -> tuple[list[Array], list[Array]]:
        """Through all stages up to this one, and what it leaves of each batch [batch, rows, hidden], pooled so: of the
        first that `fits` says before its norm, and of all after it.
        """
        while (stage := self.ahead.pop(0)).name != name:
            self.go(stage)
        before_norm, left, more = [], [], pools[len(stage.pools) :]
        for number, values in enumerate(self._values):
            values[stage.output], seen = self._run(stage, values, ("residual",) if number < fits else ())
            mask = values[of_pooled("mask", stage.pools)]
            before_norm += [pooled(more, residual, mask)[0] for residual in seen.values()]
            left.append(pooled(more, values[stage.output], mask)[0])
        return before_norm, left

    def answered(self) -> list[Array]:
        """Through all stages that are left, and the logits of each batch [batch, ...]."""
        for stage in self.ahead:
            self.go(stage)
        return [values["logits"] for values in self._values]

    def shift(self, stage: Stage) -> None:
        """Centre the scores of an attention that squares them, and have its weights add up to as much as before."""
        own = self.parameters[stage.name]
        if not isinstance(self.blocks[stage.name], Attention) or (before := own.get("constants.c")) is None:
            return
        root = np.exp(0.5 * own.get("constants.log_k", np.zeros_like(before)))  # scores are seen as root (s + c)
        count, first, second = 0.0, np.zeros(before.shape), np.zeros(before.shape)
        for values, weight in zip(self._values, self._weights, strict=True):
            _, seen = self._run(stage, values, ("scores",))
            real = values[of_pooled("mask", stage.pools)]
            pairs = real[:, :, None] * real[:, None, :] * weight[:, None, None]
            scores = seen["scores"] / jnp.reshape(root, (-1, 1, 1)) - jnp.reshape(before, (-1, 1, 1))
            count += float(pairs.sum())
            first += np.asarray(jnp.einsum("bhqk,bqk->h", scores, pairs), np.float64)
            second += np.asarray(jnp.einsum("bhqk,bqk->h", jnp.square(scores), pairs), np.float64)
        mean, square = first / count, second / count
        c = np.maximum(2 - mean, _SMALLEST_SHIFT)
        own["constants.c"] = c.astype(np.float32)
        if "constants.log_k" in own:
            sums = [square + 2 * shift * mean + shift**2 for shift in (before, c)]
            own["constants.log_k"] = np.asarray(own["constants.log_k"] + np.log(sums[0] / sums[1]), np.float32)

    def fit(self, stage: Stage, wanted: Sequence[Array], ridge: float) -> None:
        """Fit a stage's last map to what is `wanted` of the first batches before its norm."""
        block, own = self.blocks[stage.name], self.parameters[stage.name]
        assert isinstance(block, ResidualBlock)
        has_bias = "output.bias" in own
        gram: Any = 0.0
        moment: Any = 0.0
        for values, weight, target in zip(self._values, self._weights, wanted, strict=False):
            _, seen = self._run(stage, values, ("residual", block.holds))
            rows, real = seen[block.holds], values[of_pooled("mask", stage.pools)] * weight[:, None]
            more_gram, more_moment = _sums(rows, real, target - seen["residual"], has_bias)
            gram, moment = gram + more_gram, moment + more_moment
        gram, moment = np.asarray(gram, np.float64), np.asarray(moment, np.float64)
        ridged = gram + ridge * np.mean(np.diag(gram)) * np.eye(len(gram))
        change = np.linalg.solve(ridged, moment).astype(np.float32)
        inner = len(own["output.weight"])
        own["output.weight"] = own["output.weight"] + change[:inner]
        if has_bias:
            own["output.bias"] = own["output.bias"] + change[inner]

    def train(
        self,
        stage: Stage,
        wanted: Sequence[Array],
        distance: Distance,
        rates: Rates,
        learning_rate: float,
        epochs: int,
    ) -> None:
        """Train a stage by itself, one step with each batch in each epoch, towards what is `wanted` of that."""
        optimiser = optax.chain(optax.clip_by_global_norm(_SCHEDULE.clip), optax.scale_by_adam(b2=_SCHEDULE.beta2))

        def step(p: Any, state: Any, rate: Any, values: Any, batch: Any, target: Array) -> Any:
            def loss(p: Mapping[str, Array]) -> Array:
                return distance(self._architecture, run_stage(self._architecture, stage, p, values), target, batch)

            with in_precision(self._precision):
                gradient = jax.grad(loss)(p)
            updates, state = optimiser.update(gradient, state)
            return {name: p[name] - rate[name] * updates[name] for name in p}, state

        program = self._programs.setdefault((stage.signature, "train"), jax.jit(step, donate_argnums=(0, 1)))
        p: Any = {name: jnp.array(value, jnp.float32) for name, value in self.parameters[stage.name].items()}
        state, factors = optimiser.init(p), {name: rates.of(stage.name, name) for name in p}
        for number in range(epochs * len(wanted)):
            at = number % len(wanted)
            values, rate = self._values[at], learning_rate * _SCHEDULE.rate(number, epochs * len(wanted))
            each = {name: np.float32(rate * factor) for name, factor in factors.items()}
            batch = {"mask": values[of_pooled("mask", stage.pools)], "weight": self._weights[at]}
            p, state = program(p, state, each, _read_by(stage, values), batch, wanted[at])
        self.parameters[stage.name] = {name: np.asarray(value) for name, value in p.items()}

    def _run(
        self, stage: Stage, values: Mapping[str, Array], observed: tuple[str, ...] = ()
    ) -> tuple[Array, dict[str, Array]]:
        """What a stage makes of one batch, and what is `observed` on the way. Stages that are alike share a program."""

        def both(parameters: Mapping[str, Array], values: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
            seen: dict[str, Array] = {}
            with in_precision(self._precision):
                result = run_stage(self._architecture, stage, parameters, values, observe=seen.__setitem__)
            return result, {name: seen[name] for name in observed}

        program = self._programs.setdefault((stage.signature, observed), jax.jit(both))
        return program(self.parameters[stage.name], _read_by(stage, values))


def _read_by(stage: Stage, values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[name] for name in ("token_ids", *stage.inputs) if name in values}


@partial(jax.jit, static_argnames="has_bias")
def _sums(rows: Array, real: Array, lacking: Array, has_bias: bool) -> tuple[Array, Array]:
    """F'F and F'R of one batch, of real rows; with the ones that a bias stands for as F's last column."""
    rows = jnp.concatenate([rows, jnp.ones_like(rows[..., :1])], axis=-1) if has_bias else rows
    weighed = rows * real[..., None]
    return jnp.einsum("bln,blm->nm", weighed, rows), jnp.einsum("bln,blw->nw", weighed, lacking)
