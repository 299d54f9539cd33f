"""Layer normalisation, with its root and without.

A function takes x [batch, length, hidden] and the norm's parameters; `observe` is given what bounds or breaks it.
Folded, it takes rows that are centred already, and leaves out weight and bias: `folding` has moved all that into the
linear maps before and after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array
Observe: TypeAlias = Callable[[str, Array], None]


LONGEST_IN_TRAINING = 30.0
"""Times the length that a norm with its root gives."""


def ignore(name: str, value: Array) -> None:
    """Observe nothing."""


@dataclass(frozen=True)
class Normalisation:
    """One normalisation: `apply(x, parameters, epsilon, observe)`, and `folded`, which takes the same.

    `constants` are initial values of shape [2]; `folded_constants` the names of folded ones, which are scalars;
    `bounds` says whether its result has a bound, whatever it is given.
    """

    name: str
    apply: Callable[[Array, Mapping[str, Array], float, Observe], Array]
    folded: Callable[[Array, Mapping[str, Array], float, Observe], Array]
    constants: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    folded_constants: tuple[str, ...] = ()
    bounds: bool = False


def centred(x: Array) -> Array:
    """x - mean over the last axis."""
    return x - jnp.mean(x, axis=-1, keepdims=True)


@jax.jit
def standardise(x: Array, epsilon: Array) -> Array:
    """x / sqrt(mean(x^2) + epsilon) over the last axis. By its name a run on shares knows it, and has a root for it."""
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)


def _variance(x: Array, observe: Observe) -> Array:
    """The mean square of a centred row."""
    variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    observe("variance", variance)
    return variance


def _layernorm(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    """Ba et al. 2016, equation 4: (x - mean) / sqrt(variance + epsilon) * weight + bias."""
    return _standardised(centred(x), p, epsilon, observe) * p["weight"] + p["bias"]


def _standardised(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    _variance(x, observe)
    return standardise(x, epsilon)


def _constant(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    """(x - mean) g weight + bias: no root, no division; g is trained, one for position 0 and one for all others.

    It has no bound (unlike `layernorm`): whatever ships with it must show what bounds it. `anneal`, where it is among
    the parameters, is a in (1 / std)^(1 - a) g^a, the path that training takes from `layernorm` to here; rows are then
    held to `LONGEST_IN_TRAINING`, so that a text that explodes has a finite loss to learn from.
    """
    x = centred(x)
    variance = _variance(x, observe)
    first, others = p["log_g"][:1], jnp.broadcast_to(p["log_g"][1:], (x.shape[1] - 1,))
    log_g = jnp.concatenate([first, others])[:, None]
    observe("log_variance_g2", jnp.log(variance + epsilon) + 2 * log_g)
    if "anneal" in p:
        a = jax.lax.stop_gradient(p["anneal"])
        log_deviation = 0.5 * jnp.log(variance + epsilon)
        log_g = a * log_g - (1 - a) * log_deviation
        log_g = jnp.minimum(log_g, math.log(LONGEST_IN_TRAINING) - log_deviation)
    return x * jnp.exp(log_g) * p["weight"] + p["bias"]


def _folded_constant(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    """x, at position 0 times `first`, g there over g elsewhere; g elsewhere is folded away. Nothing is squared."""
    return jnp.concatenate([x[:, :1] * p["first"], x[:, 1:]], axis=1)


def _none(x: Array, p: Mapping[str, Array], epsilon: float, observe: Observe) -> Array:
    return x


NORMALISATIONS: dict[str, Normalisation] = {
    n.name: n
    for n in (
        Normalisation("layernorm", _layernorm, _standardised, bounds=True),
        Normalisation("layernorm-constant", _constant, _folded_constant, {"log_g": (0.0, 0.0)}, ("first",)),
        # No normalisation: the floor that benchmarks measure against.
        Normalisation("none", _none, _none),
    )
}
