"""A function of secret arrays as a flat list of equations, in which whatever is public has been computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...model.functions.norms import layernorm
from .jaxprs import bind, instead, interpret
from .roots import standardise

Shape = tuple[int, ...]
Variable: TypeAlias = int
"""A secret array, by its number."""
Operand: TypeAlias = "Variable | np.ndarray"
"""A secret array, or a public one."""


_ON_SHARES = instead({layernorm.standardise: standardise})
"""What computes functions of the model on shares."""


@dataclass(frozen=True)
class Equation:
    """One operation of JAX's: outputs = primitive(inputs), at least one of which is secret."""

    primitive: Any
    inputs: tuple[Operand, ...]
    outputs: tuple[Variable, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The primitive's."""
        return str(self.primitive.name)

    @property
    def secrets(self) -> tuple[Variable, ...]:
        """The inputs that are secret."""
        return tuple(x for x in self.inputs if isinstance(x, Variable))

    def evaluate(self, values: Sequence[Any]) -> list[Any]:
        """Its outputs for these inputs."""
        return bind(self.primitive, values, self.parameters)


@dataclass(frozen=True)
class Trace:
    """A function for given shapes. Variables 0 to n - 1 are its n inputs.

    Attributes:
        equations: in an order in which they can be computed.
        inputs: how many variables are inputs.
        output: what it returns.
        shapes, dtypes: of every variable.
    """

    equations: tuple[Equation, ...]
    inputs: int
    output: Variable
    shapes: Mapping[Variable, Shape]
    dtypes: Mapping[Variable, np.dtype[Any]]

    def consumers(self) -> dict[Variable, list[Equation]]:
        """The equations that read each variable."""
        found: dict[Variable, list[Equation]] = {v: [] for v in self.shapes}
        for equation in self.equations:
            for variable in set(equation.secrets):
                found[variable].append(equation)
        return found

    def size(self, variable: Variable) -> int:
        """Number of elements."""
        return math.prod(self.shapes[variable])


def trace(function: Callable[..., jax.Array], shapes: Sequence[Shape]) -> Trace:
    """Trace a function of secret float32 arrays of these shapes; it returns one array.

    A division by a secret becomes a product by its reciprocal, taken before it is broadcast: what SPU's denominator
    option does within a program. Powers become products, and layer normalisations what `roots` makes of them. What the
    result does not need is left out.
    """
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]  # type: ignore[no-untyped-call]
    closed = jax.make_jaxpr(function)(*arguments)
    tracer = _Tracer()
    inputs = [tracer.variable(a.shape, a.dtype) for a in closed.in_avals]
    (output,) = interpret(closed, inputs, tracer.apply, _ON_SHARES, lambda value: isinstance(value, Variable))
    if not isinstance(output, Variable):
        raise ValueError("the function's result does not depend on its inputs")
    return Trace(_needed(tracer.equations, output), len(inputs), output, tracer.shapes, tracer.dtypes)


def _needed(equations: Sequence[Equation], output: Variable) -> tuple[Equation, ...]:
    wanted, kept = {output}, []
    for equation in reversed(equations):
        if not wanted.isdisjoint(equation.outputs):
            wanted.update(equation.secrets)
            kept.append(equation)
    return tuple(reversed(kept))


class _Tracer:
    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.shapes: dict[Variable, Shape] = {}
        self.dtypes: dict[Variable, np.dtype[Any]] = {}
        self._makers: dict[Variable, Equation] = {}

    def variable(self, shape: Sequence[int], dtype: Any) -> Variable:
        number = len(self.shapes)
        self.shapes[number], self.dtypes[number] = tuple(shape), np.dtype(dtype)
        return number

    def apply(self, eqn: Any, inputs: Sequence[Operand]) -> list[Operand]:
        """Add an operation, or compute it where it is of public arrays."""
        primitive, parameters, avals = eqn.primitive, eqn.params, [v.aval for v in eqn.outvars]
        if not any(isinstance(x, Variable) for x in inputs):
            return [np.asarray(x) for x in bind(primitive, inputs, parameters)]
        if primitive is lax.div_p and isinstance(inputs[1], Variable) and avals[0].dtype == np.float32:
            return [self._divide(inputs[0], inputs[1])]
        if primitive is lax.integer_pow_p and parameters["y"] > 2:
            return [self._power(inputs[0], parameters["y"])]
        outputs = tuple(self.variable(a.shape, a.dtype) for a in avals)
        self._add(Equation(primitive, tuple(inputs), outputs, parameters))
        return list(outputs)

    def _add(self, equation: Equation) -> None:
        self.equations.append(equation)
        self._makers |= dict.fromkeys(equation.outputs, equation)

    def _new(self, primitive: Any, *inputs: Operand, like: Variable, **parameters: Any) -> Variable:
        output = self.variable(parameters.get("shape", self.shapes[like]), self.dtypes[like])
        self._add(Equation(primitive, inputs, (output,), parameters))
        return output

    def _divide(self, numerator: Operand, denominator: Variable) -> Variable:
        maker = self._makers.get(denominator)
        spread = maker is not None and maker.primitive is lax.broadcast_in_dim_p
        narrow = maker.secrets[0] if maker is not None and spread else denominator
        reciprocal = self._new(lax.div_p, np.ones(self.shapes[narrow], np.float32), narrow, like=narrow)
        if maker is not None and spread:
            reciprocal = self._new(maker.primitive, reciprocal, like=reciprocal, **maker.parameters)
        if not isinstance(numerator, Variable) and np.all(numerator == 1):
            return reciprocal
        return self._new(lax.mul_p, numerator, reciprocal, like=reciprocal)

    def _power(self, base: Operand, exponent: int) -> Variable:
        assert isinstance(base, Variable)
        if exponent == 1:
            return base
        half = self._power(base, exponent // 2)
        square = self._new(lax.integer_pow_p, half, like=half, y=2)
        return self._new(lax.mul_p, square, base, like=base) if exponent % 2 else square
