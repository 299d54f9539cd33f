"""What distillation minimises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...model import Architecture, Parameters, hidden_states
from ...model.answers import answer_of
from .loop import Loss

Array = jax.Array
_INPUTS = ("token_ids", "rows", "mask")


def hidden_state_loss(student: Architecture, teacher: Architecture) -> Loss:
    """Mean squared error of the hidden states over real pieces, summed over the embedding's output and all layers."""

    def loss(parameters: Parameters, constants: Any, batch: Mapping[str, Array], key: Array) -> Array:
        found, _ = hidden_states(student, parameters, inputs_of(batch))
        errors = [jnp.mean(jnp.square(f - w), axis=-1) for f, w in _beside(found, teacher, constants, batch)]
        return sum((_over_real(error, batch) for error in errors), jnp.zeros(()))

    return loss


def rootless_loss(student: Architecture, teacher: Architecture, anneal: float, penalty: float) -> Loss:
    """Hidden states while norms lose their roots.

    Sum over layers of mean log(1 + squared error), which a few exploding pieces cannot carry away, and the penalty of
    `_explosions`. In the first `anneal` of the steps the norms go from (1 / std) to g.
    """

    def loss(parameters: Parameters, constants: Any, batch: Mapping[str, Array], key: Array) -> Array:
        seen: dict[str, Array] = {}
        annealed = _annealed(parameters, jnp.minimum(1.0, batch["progress"] / anneal))
        found, _ = hidden_states(student, annealed, inputs_of(batch), observe=seen.__setitem__)
        errors = [jnp.mean(jnp.log1p(jnp.square(f - w)), axis=-1) for f, w in _beside(found, teacher, constants, batch)]
        total = sum((_over_real(error, batch) for error in errors), jnp.zeros(()))
        return total + penalty * _explosions(seen, batch)

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
        each = answer.distance(logits, batch["targets"], batch["mask"])
        mean = jnp.sum(each * batch["weight"]) / jnp.sum(batch["weight"])
        return mean + penalty * _explosions(seen, batch)

    return loss


def _annealed(parameters: Parameters, a: Array) -> Parameters:
    """With the share of its way to a constant that each norm without a root has gone."""
    return {stage: own | {"norm.anneal": a} if "norm.log_g" in own else own for stage, own in parameters.items()}


def inputs_of(batch: Mapping[str, Array]) -> dict[str, Array]:
    """What a model takes of a batch's arrays."""
    return {name: batch[name] for name in _INPUTS if name in batch}


def _beside(
    found: list[Array], teacher: Architecture, constants: Any, batch: Mapping[str, Array]
) -> list[tuple[Array, Array]]:
    """The student's hidden states, each with the teacher's, which reads the student's word pieces."""
    inputs = inputs_of(batch)
    if constants["kept"] is not None:
        inputs |= {"token_ids": constants["kept"][batch["token_ids"]]}
    wanted, _ = hidden_states(teacher, jax.lax.stop_gradient(constants["teacher"]), inputs)
    return list(zip(found, wanted, strict=True))


def _explosions(seen: Mapping[str, Array], batch: Mapping[str, Array]) -> Array:
    """Sum over norms without a root of mean (ln(variance g^2))^2: 0 where g is what the root would have given."""
    logarithms = [value for name, value in seen.items() if name.endswith("/log_variance_g2")]
    return sum((_over_real(jnp.square(value[..., 0]), batch) for value in logarithms), jnp.zeros(()))


def _over_real(values: Array, batch: Mapping[str, Array]) -> Array:
    """The mean of values [batch, length] over real pieces of real rows."""
    real = batch["mask"] * batch["weight"][:, None]
    return jnp.sum(values * real) / jnp.sum(real)
