"""LayerNorm with a constant for its root: (x - mean) g weight + bias. No root, no division, and no bound."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ....later import Array, jax, jnp
from ..constant import Constant
from ..origin import Origin
from .function import Normalisation, Observe, centred, variance

LONGEST_IN_TRAINING = 30.0
"""Times the length that a norm with its root gives."""


def _constant(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    """(x - mean) g weight + bias; g is trained, one for position 0 and one for all others.

    It has no bound (unlike `layernorm`): whatever ships with it must show what bounds it. `anneal`, where it is among
    the parameters, is a in (1 / std)^(1 - a) g^a, the path that training takes from `layernorm` to here; rows are then
    held to `LONGEST_IN_TRAINING`, so that a text that explodes has a finite loss to learn from.
    """
    x = centred(x)
    squares = variance(x, observe)
    first, others = p["log_g"][:1], jnp.broadcast_to(p["log_g"][1:], (x.shape[1] - 1,))
    log_g = jnp.concatenate([first, others])[:, None]
    observe("log_variance_g2", jnp.log(squares + epsilon) + 2 * log_g)
    if "anneal" in p:
        a = jax.lax.stop_gradient(p["anneal"])
        log_deviation = 0.5 * jnp.log(squares + epsilon)
        log_g = a * log_g - (1 - a) * log_deviation
        log_g = jnp.minimum(log_g, math.log(LONGEST_IN_TRAINING) - log_deviation)
    return x * jnp.exp(log_g) * p["weight"] + p["bias"]


def _folded(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    """x, at position 0 times `first`, g there over g elsewhere; g elsewhere is folded away. Nothing is squared."""
    return jnp.concatenate([x[:, :1] * p["first"], x[:, 1:]], axis=1)


def _length(own: Mapping[str, np.ndarray], length: float, width: int) -> float:
    return length * max(1.0, abs(float(own["norm.first"])))


LAYERNORM_CONSTANT = Normalisation(
    name="layernorm-constant",
    origin=Origin("a constant for the root", "freediv", retrained=True),
    apply=_constant,
    folded=_folded,
    centres=True,
    scales=True,
    root=False,
    bounds=False,
    length=_length,
    constants={"log_g": Constant(0.0, "g")},
    folded_constants=("first",),
)
