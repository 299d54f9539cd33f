"""Feed-forward: each row by itself, through a wider one and an activation.

Where it is gated (GLU: Dauphin et al. 2017; Shazeer 2020), its first map gives twice as much: what goes through the
activation, and behind it what that is multiplied by, element by element. An activation's offset is then no constant of
the result, and stays as a secret number.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping

import numpy as np

from ...later import Array, jnp
from ..architecture import Architecture, LayerSizes
from ..functions.activation import ACTIVATIONS
from ..functions.activation.function import ActivationBound
from ..functions.constant import Constant
from ..functions.norms import Observe
from ..functions.singular_values import spectral_norm
from ..stage import Dropout, Shape
from .block import (
    UNKNOWN,
    Folded,
    Own,
    Rows,
    as_read,
    constants_of,
    dense,
    largest_product,
    take_constants,
)
from .residual import ResidualBlock


class FeedForward(ResidualBlock):
    """The feed-forward block of one layer, with its norm."""

    kind = "feed_forward"
    reading = "intermediate"

    def __init__(self, architecture: Architecture, layer: int, before: str) -> None:
        functions = architecture.functions[layer]
        super().__init__(architecture, layer, before, functions.feed_forward_norm)
        self.function = ACTIVATIONS[functions.activation]
        self.inner = architecture.intermediate_of(layer)

    def shapes(self, folded: bool) -> dict[str, Shape]:
        a = self.architecture
        wide = (1 + a.gated) * self.inner
        shapes: dict[str, Shape] = {
            "intermediate.weight": (a.hidden, wide),
            "intermediate.bias": (wide,),
            "output.weight": (self.inner, a.hidden),
            "output.bias": (a.hidden,),
        }
        if folded and a.gated and self.function.folds:
            shapes["offset"] = ()
        return shapes | self.residual_shapes() if folded else shapes

    def constants(self) -> Iterator[tuple[str, Constant, Shape]]:
        for name, constant in self.function.constants.items():
            yield f"constants.{name}", constant, ()
        yield from super().constants()

    def variant(self) -> tuple[Hashable, ...]:
        return (self.function.name, self.architecture.gated, *super().variant())

    def branch(self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout, observe: Observe) -> Array:
        function, (hidden,) = self.function, inputs
        x = dense(hidden, p["intermediate.weight"], p["intermediate.bias"])
        gate: Array | None = None
        if self.architecture.gated:
            x, gate = jnp.split(x, 2, axis=-1)
            observe("gate", gate)
        observe("activation_in", x)
        if function.folds and not folded:
            scale, shift, offset = function.affine(constants_of(p))
            x = function.apply(x * scale + shift) + offset
        else:
            x = function.apply(x)
        if "offset" in p:
            x = x + p["offset"]
        observe("activation_out", x)
        if gate is not None:
            x = x * gate
            observe("gated", x)
        return dropout("output", dense(x, p["output.weight"], p["output.bias"]))

    @property
    def units(self) -> int:
        return self.inner

    def units_in(self, sizes: LayerSizes) -> int:
        return sizes.intermediate or self.inner

    @property
    def holds(self) -> str:
        return "gated" if self.architecture.gated else "activation_out"

    def keeping(self, own: Mapping[str, np.ndarray], units: np.ndarray) -> dict[str, np.ndarray]:
        columns = np.concatenate([part * self.inner + units for part in range(1 + self.architecture.gated)])
        into = {name: own[name][..., columns] for name in ("intermediate.weight", "intermediate.bias") if name in own}
        return {**own, **into, "output.weight": own["output.weight"][units]}

    def fold_constants(self, own: Own) -> Own:
        """Scale and shift into the weights before, the offset into the bias after: what is left is g."""
        constants, a = take_constants(own), self.architecture
        if not self.function.folds:
            return own
        scale, shift, offset = self.function.affine(constants)
        if a.gated:
            into = np.arange(2 * self.inner) < self.inner
            scale, shift = jnp.where(into, scale, 1.0), jnp.where(into, shift, 0.0)
            own["offset"] = jnp.asarray(offset, jnp.float32)
        else:
            own["output.bias"] = own["output.bias"] + offset * jnp.sum(own["output.weight"], axis=0)
        own["intermediate.weight"] = own["intermediate.weight"] * scale
        own["intermediate.bias"] = own["intermediate.bias"] * scale + shift
        return own

    def branch_bound(self, own: Folded, rows: Rows) -> tuple[float, float]:
        bound = self.function.bound
        if bound is None or math.isinf(rows.length):
            return UNKNOWN
        weight, bias, output = as_read(own["intermediate.weight"], rows), own["intermediate.bias"], own["output.weight"]
        if self.architecture.gated:
            largest, added = self._gated_bound(bound, weight, bias, own, rows.length)
        else:
            largest = bound.largest(largest_product(weight, bias, rows.length))
            added = bound.added(weight, bias, output, rows.length)
        return largest, added + float(np.linalg.norm(own["output.bias"]))

    def _gated_bound(
        self, bound: ActivationBound, weight: np.ndarray, bias: np.ndarray, own: Folded, length: float
    ) -> tuple[float, float]:
        """An element of the activation, and its gate, are at most what their columns make of the longest row."""
        output, offset = own["output.weight"], abs(float(own.get("offset", 0.0)))
        most = length * np.linalg.norm(weight, axis=0) + np.abs(bias)
        into, gates = np.split(most, 2)
        activated = np.array([bound.largest(float(one)) for one in into]) + offset
        gate, gate_bias = weight[:, len(into) :], bias[len(into) :]
        together = length * spectral_norm(gate) + float(np.linalg.norm(gate_bias))
        added = min(
            float((activated * gates) @ np.linalg.norm(output, axis=1)),
            float(activated.max()) * together * spectral_norm(output),
        )
        return float(max(gates.max(), activated.max(), (activated * gates).max())), added
