"""What a stage becomes when it is cut (`segments`): steps for a party, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import numpy as np

from .tracing import Equation, Shape, Variable

Slot: TypeAlias = int
"""Where a party keeps words while it runs a plan."""


@dataclass(frozen=True)
class Local:
    """One operation on words, without a message: a name in `LINEAR`, or one of those that `shares_engine` knows.

    `inputs` are slots, or public ring elements.
    """

    operation: str
    inputs: tuple[Slot | np.ndarray, ...]
    output: Slot
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exchange:
    """Summands to replicated shares, truncated: all in the same messages."""

    summands: tuple[Slot, ...]
    shares: tuple[Slot, ...]
    shifts: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """An SPU program over replicated shares.

    Attributes:
        equations: what it computes.
        inputs: its variables, and the slots that their shares are in; None: left in the runtime by an earlier call.
        outputs: its variables, and the slots that their shares go to; None: they are left in the runtime.
        shapes, dtypes: of the inputs; comparisons that a later call reads are booleans.
    """

    equations: tuple[Equation, ...]
    inputs: tuple[tuple[Variable, Slot | None], ...]
    outputs: tuple[tuple[Variable, Slot | None], ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[np.dtype[Any], ...]

    def function(self, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        """The program, of its inputs in their order."""
        known: dict[Variable, Any] = {v: a for (v, _), a in zip(self.inputs, arrays, strict=True)}
        for equation in self.equations:
            values = [known[x] if isinstance(x, Variable) else x for x in equation.inputs]
            known |= dict(zip(equation.outputs, equation.evaluate(values), strict=True))
        return tuple(known[v] for v, _ in self.outputs)


Step: TypeAlias = Local | Exchange | Call


@dataclass(frozen=True)
class Plan:
    """A function of secret arrays, cut.

    Attributes:
        steps: in order; `dropped[i]` are the slots that nothing reads after step i.
        inputs: slots of the arguments' replicated shares.
        packed: which arguments (by position) are only ever the right-hand side of matrix products, as they are.
        output: the slot of the result's shares; None: a call leaves the result in the runtime.
        result: the variable that the result is.
    """

    steps: tuple[Step, ...]
    dropped: tuple[tuple[Slot, ...], ...]
    inputs: tuple[Slot, ...]
    packed: frozenset[int]
    output: Slot | None
    result: Variable

    def digest(self, programs: Sequence[str]) -> str:
        """SHA-256 of all that it says, given the digests of its calls' programs."""
        remaining = iter(programs)
        said = hashlib.sha256()
        for step in self.steps:
            if isinstance(step, Local):
                words = [x.tobytes().hex() if isinstance(x, np.ndarray) else x for x in step.inputs]
                said.update(repr((step.operation, words, step.output, sorted(step.parameters.items()))).encode())
            elif isinstance(step, Exchange):
                said.update(repr(step).encode())
            else:
                said.update(repr((next(remaining), step.inputs, step.outputs)).encode())
        said.update(repr((self.inputs, sorted(self.packed), self.output)).encode())
        return said.hexdigest()
