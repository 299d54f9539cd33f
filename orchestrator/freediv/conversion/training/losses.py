"""What distillation minimises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...model import Architecture, Parameters, hidden_states, stages
from ...model.answers import Answer, answer_of
from ...model.functions.pooling import of_pooled, pooled
from ...model.masks import made_of_mask
from .phase import Loss

Array = jax.Array
_INPUTS = ("token_ids", "rows", "mask")


def taught_states(layers: Sequence[int], teacher: Architecture) -> tuple[int, ...]:
    """Which of the teacher's hidden states each of a student's is to become that has these of its layers: what the next
    of them reads, and at the end what the last one leaves.
    """
    return (0, *layers[1:], teacher.layers)[: len(layers) + 1]


def hidden_state_loss(student: Architecture, teacher: Architecture, layers: Sequence[int]) -> Loss:
    """Mean squared error of the hidden states over real rows, summed over the embedding's output and all layers; where
    the student's rows are pooled, to the teacher's, pooled likewise.
    """

    def loss(parameters: Parameters, constants: Any, batch: Mapping[str, Array], key: Array) -> Array:
        found, _ = hidden_states(student, parameters, inputs_of(batch))
        beside = _beside(student, found, teacher, layers, constants, batch)
        return sum((over_real(jnp.mean(jnp.square(f - w), axis=-1), m, batch) for f, w, m in beside), jnp.zeros(()))

    return loss


def rootless_loss(
    student: Architecture, teacher: Architecture, layers: Sequence[int], anneal: float, penalty: float
) -> Loss:
    """Hidden states while norms lose their roots.

    Sum over layers of mean log(1 + squared error), which a few exploding pieces cannot carry away, and the penalty of
    `_explosions`. In the first `anneal` of the steps the norms go from (1 / std) to g.
    """

    def loss(parameters: Parameters, constants: Any, batch: Mapping[str, Array], key: Array) -> Array:
        seen: dict[str, Array] = {}
        annealed = _annealed(parameters, jnp.minimum(1.0, batch["progress"] / anneal))
        found, _ = hidden_states(student, annealed, inputs_of(batch), observe=seen.__setitem__)
        beside = _beside(student, found, teacher, layers, constants, batch)
        errors = (over_real(jnp.mean(jnp.log1p(jnp.square(f - w)), axis=-1), m, batch) for f, w, m in beside)
        return sum(errors, jnp.zeros(())) + penalty * _explosions(student, seen, batch)

    return loss


def logit_loss(student: Architecture, penalty: float = 0.0) -> Loss:
    """The distance of logits from the teacher's, as the kind of answer measures it.

    With the penalty of `_explosions` where norms have no root.
    """
    answer = answer_of(student)

    def loss(parameters: Parameters, constants: None, batch: Mapping[str, Array], key: Array) -> Array:
        seen: dict[str, Array] = {}
        _, logits = hidden_states(
            student, _annealed(parameters, jnp.ones(())), inputs_of(batch), observe=seen.__setitem__
        )
        return mean_distance(answer, logits, batch["targets"], batch) + penalty * _explosions(student, seen, batch)

    return loss


def mean_distance(answer: Answer, logits: Array, wanted: Array, batch: Mapping[str, Array]) -> Array:
    """Over a batch's texts, of logits from those that are wanted."""
    each = answer.distance(logits, wanted, batch["mask"])
    return jnp.sum(each * batch["weight"]) / jnp.sum(batch["weight"])


def _annealed(parameters: Parameters, a: Array) -> Parameters:
    """With the share of its way to a constant that each norm without a root has gone."""
    return {stage: own | {"norm.anneal": a} if "norm.log_g" in own else own for stage, own in parameters.items()}


def inputs_of(batch: Mapping[str, Array]) -> dict[str, Array]:
    """What a model takes of a batch's arrays."""
    return {name: batch[name] for name in _INPUTS if name in batch}


def _beside(
    student: Architecture,
    found: list[Array],
    teacher: Architecture,
    layers: Sequence[int],
    constants: Any,
    batch: Mapping[str, Array],
) -> list[tuple[Array, Array, Array]]:
    """The student's hidden states, each with the teacher's, which reads the student's word pieces, and their mask."""
    inputs = inputs_of(batch)
    if constants["kept"] is not None:
        inputs |= {"token_ids": constants["kept"][batch["token_ids"]]}
    states, _ = hidden_states(teacher, jax.lax.stop_gradient(constants["teacher"]), inputs)
    masks, beside = made_of_mask(student, batch["mask"]), []
    for number, state in enumerate(taught_states(layers, teacher)):
        pools, earlier = student.pools_before(number), teacher.pools_before(state)
        wanted, mask = pooled(pools[len(earlier) :], states[state], masks[of_pooled("mask", earlier)])
        beside.append((found[number], wanted, mask))
    return beside


def _explosions(student: Architecture, seen: Mapping[str, Array], batch: Mapping[str, Array]) -> Array:
    """Sum over norms without a root of mean (ln(variance g^2))^2: 0 where g is what the root would have given."""
    masks = made_of_mask(student, batch["mask"])
    each = (
        over_real(jnp.square(seen[name][..., 0]), masks[of_pooled("mask", stage.pools)], batch)
        for stage in stages(student)
        if (name := f"{stage.name}/log_variance_g2") in seen
    )
    return sum(each, jnp.zeros(()))


def over_real(values: Array, mask: Array, batch: Mapping[str, Array]) -> Array:
    """The mean of values [batch, rows] over real rows of real texts."""
    real = mask * batch["weight"][:, None]
    return jnp.sum(values * real) / jnp.sum(real)
