"""How an encoder's numbers are kept: as they are, or as integers with scales, straight through for gradients.

A slot is a place where a non-linear function stands: `encoder.0.attention/norm`, `encoder.0.attention/softmax`,
`encoder.0.feed_forward/norm`, `encoder.0.feed_forward/gelu`, `classifier/norm`. What it reads and leaves is observed as
`<slot>/in` and `<slot>/out`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

from ...model.functions.activation import ACTIVATIONS
from ...model.functions.attention import ATTENTIONS
from ...model.functions.norms import NORMALISATIONS, Observe, ignore
from . import METHODS

Array = jax.Array

RESIDUAL_BITS, PIXEL_BITS = 16, 8
MOST_FACTOR = 3
"""A channel's factor is 2 to the power of this, at most (FQ-ViT)."""
_SMALLEST = 1e-8


class Arithmetic(Protocol):
    """What an encoder asks for."""

    def weights(self, own: Mapping[str, Array]) -> dict[str, Array]:
        """A block's parameters as it uses them."""

    def keep(self, place: str, x: Array, bits: int | None = None) -> Array:
        """Activations at a place, in as many bits as activations have, or in so many."""

    def softmax(self, slot: str, scores: Array, mask: Array | None) -> Array:
        """Weights of scores [batch, heads, n, n], of which those count that the mask [batch, n] says, or all."""

    def gelu(self, slot: str, x: Array) -> Array:
        """GELU, as the next linear map reads it."""

    def norm(self, slot: str, x: Array, own: Mapping[str, Array], epsilon: float) -> Array:
        """LayerNorm of rows [batch, n, hidden], as who is after it reads them."""


@dataclass(frozen=True)
class Exact:
    """Floating point."""

    observe: Observe = ignore

    def weights(self, own: Mapping[str, Array]) -> dict[str, Array]:
        return dict(own)

    def keep(self, place: str, x: Array, bits: int | None = None) -> Array:
        self.observe(place, x)
        return x

    def softmax(self, slot: str, scores: Array, mask: Array | None) -> Array:
        return self._slot(slot, scores, exact_softmax(scores, mask))

    def gelu(self, slot: str, x: Array) -> Array:
        return self._slot(slot, x, exact_gelu(x))

    def norm(self, slot: str, x: Array, own: Mapping[str, Array], epsilon: float) -> Array:
        return self._slot(slot, x, exact_norm(x, own, epsilon))

    def _slot(self, slot: str, read: Array, left: Array) -> Array:
        self.observe(f"{slot}/in", read)
        self.observe(f"{slot}/out", left)
        return left


@dataclass(frozen=True)
class Integers:
    """Integers with scales. What is rounded has the gradient of what it was, within its range; what an integer function
    gives, that of the exact function of the same numbers.

    Attributes:
        bits: of weights and activations.
        methods: of each slot, by name.
        ranges: the largest magnitude at each place (doubles); of norms `<slot>/shift` and `<slot>/factors`, too.
    """

    bits: int
    methods: Mapping[str, str]
    ranges: Mapping[str, Array]
    observe: Observe = ignore

    def weights(self, own: Mapping[str, Array]) -> dict[str, Array]:
        """Each column of a matrix has a scale of its own."""
        most, found = _most(self.bits), dict(own)
        for name, weight in own.items():
            if name.endswith("weight") and weight.ndim == 2:
                largest = jnp.max(jnp.abs(jax.lax.stop_gradient(weight)), axis=0)
                scale = jnp.maximum(largest, _SMALLEST) / most
                found[name] = straight_through(weight, jnp.round(weight / scale) * scale)
        return found

    def keep(self, place: str, x: Array, bits: int | None = None) -> Array:
        kept = self._rounded(place, x, bits or self.bits)
        self.observe(place, kept)
        return kept

    def softmax(self, slot: str, scores: Array, mask: Array | None) -> Array:
        self.observe(f"{slot}/in", scores)
        real = jnp.ones((), bool) if mask is None else mask[:, None, None, :] > 0
        found = METHODS[self.methods[slot]].softmax(*self._read(slot, scores, self.bits), real, self.bits)
        left = straight_through(exact_softmax(self._rounded(f"{slot}/in", scores, self.bits), mask), _number(*found))
        self.observe(f"{slot}/out", left)
        return left

    def gelu(self, slot: str, x: Array) -> Array:
        self.observe(f"{slot}/in", x)
        left = exact_gelu(self._rounded(f"{slot}/in", x, self.bits))
        if (function := METHODS[self.methods[slot]].gelu) is not None:
            left = straight_through(left, _number(*function(*self._read(slot, x, self.bits), self.bits)))
        return self.keep(f"{slot}/out", left)

    def norm(self, slot: str, x: Array, own: Mapping[str, Array], epsilon: float) -> Array:
        self.observe(f"{slot}/in", x)
        method = METHODS[self.methods[slot]]
        constants = {name: jax.lax.stop_gradient(own[f"norm.{name}"]).astype(float) for name in ("weight", "bias")}
        constants |= {"shift": self.ranges[f"{slot}/shift"], "scale": self._scale(f"{slot}/out", self.bits)}
        read = self._read(slot, x, RESIDUAL_BITS, factors=method.factors)
        exact = exact_norm(self._rounded(f"{slot}/in", x, RESIDUAL_BITS), own, epsilon)
        return self.keep(f"{slot}/out", straight_through(exact, _number(*method.norm(*read, constants))))

    def _scale(self, place: str, bits: int) -> Array:
        return self.ranges[place] / _most(bits)

    def _rounded(self, place: str, x: Array, bits: int) -> Array:
        most, scale = _most(bits), self._scale(place, bits).astype(jnp.float32)
        within = jnp.clip(x, -most * scale, most * scale)
        return straight_through(within, jnp.round(within / scale) * scale)

    def _read(self, slot: str, x: Array, bits: int, *, factors: bool = False) -> tuple[Array, Array]:
        """What a slot reads as integers, and their scale; with factors, each channel in steps of its own."""
        most, scale, powers = _most(bits), self._scale(f"{slot}/in", bits), jnp.zeros((), jnp.int64)
        if factors:
            scale, powers = scale * 2.0**-MOST_FACTOR, self.ranges[f"{slot}/factors"]
        steps = jax.lax.stop_gradient(x) / (scale * (1 << powers)).astype(jnp.float32)
        return jnp.clip(jnp.round(steps), -most, most).astype(jnp.int64) << powers, scale


def straight_through(differentiable: Array, value: Array) -> Array:
    """The value, with the gradient of the other (Bengio et al. 2013, arXiv 1308.3432)."""
    return differentiable + jax.lax.stop_gradient(value - differentiable)


def exact_softmax(scores: Array, mask: Array | None) -> Array:
    """As the model has it."""
    return ATTENTIONS["softmax"].weigh(scores, mask)


def exact_gelu(x: Array) -> Array:
    """As the model has it."""
    return ACTIVATIONS["gelu"].apply(x)


def exact_norm(x: Array, own: Mapping[str, Array], epsilon: float) -> Array:
    """As the model has it."""
    constants = {name: own[f"norm.{name}"] for name in ("weight", "bias")}
    return NORMALISATIONS["layernorm"].apply(x, constants, epsilon, ignore)


def _number(integers: Array, scale: Array) -> Array:
    return (integers * scale).astype(jnp.float32)


def _most(bits: int) -> int:
    return 2 ** (bits - 1) - 1
