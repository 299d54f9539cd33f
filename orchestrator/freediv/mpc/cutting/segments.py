"""Cutting a stage at its products: what each party does alone, what they exchange, and what is left to SPU.

A traced stage becomes steps. `Local` steps are linear operations and summands of products, on words. An `Exchange`
turns all summands of one level into replicated shares again, truncated to the usual fraction bits, in one message where
SPU takes several per product. A `Call` runs whatever is left, such as a root, an exponential or a comparison, as an
SPU program. Steps are ordered by level, the number of exchanges that must come before, so that independent products
share their messages.

A product stays a summand through additions, sums and rearrangements as long as these do not make it larger: biases and
residuals are added at full precision, a row's sum of squares is exchanged instead of the squares. Products by public
numbers are exact integers where possible; halves, quarters and so on only move the binary point.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import numpy as np

from ..replicated.products import Words
from ..replicated.truncation import MAX_SHIFT
from ..replicated.words import LINEAR, encode
from .plans import Call, Exchange, Local, Plan, Slot, Step
from .tracing import Equation, Shape, Trace, Variable, trace

_CONSTANT_BITS = 18  # of a public factor that is no short binary fraction
_SMALL = 16  # factors of a summand up to here leave enough room above it
_FRACTION = 47  # bits of sums of summands: leaves numbers up to 2^14
_FEW = 4096  # elements: these cost less to exchange than a further message does

Kind = Literal["linear", "scale", "product", "spu"]


def cut(function: Callable[..., jax.Array], shapes: Sequence[Shape], fraction_bits: int) -> Plan:
    """Cut a function of secret float32 arrays of the given shapes, which returns one array."""
    return _Cutter(trace(function, shapes), fraction_bits).plan()


def packed_arguments(function: Callable[..., jax.Array], shapes: Sequence[Shape]) -> frozenset[int]:
    """The arguments that `cut` would take packed (see `Plan.packed`)."""
    return _packed(trace(function, shapes))


def _packed(traced: Trace) -> frozenset[int]:
    found = set()
    consumers = traced.consumers()
    for variable in range(traced.inputs):
        uses = consumers[variable]
        if uses and variable != traced.output and all(_is_plain_right(e, variable) for e in uses):
            found.add(variable)
    return frozenset(found)


def _is_plain_right(equation: Equation, variable: Variable) -> bool:
    if equation.name != "dot_general" or len(equation.secrets) < 2:
        return False
    left, right = equation.secrets
    (_, summed), (batch, _) = equation.parameters["dimension_numbers"]
    return left != variable == right and tuple(summed) == (0,) and not batch


@dataclass(frozen=True)
class _Form:
    """A value as words in a slot, from a level on, with so many fraction bits."""

    slot: Slot
    level: int
    bits: int


class _Cutter:
    def __init__(self, traced: Trace, fraction_bits: int) -> None:
        self._trace, self._bits = traced, fraction_bits
        self._wide = 2 * fraction_bits + 1  # of a product: `words` gives twice its value
        self._consumers = traced.consumers()
        self._slots = 0
        self._shares: dict[Variable, _Form] = {}
        self._summands: dict[Variable, _Form] = {}
        self._called: dict[Variable, int] = {}  # the level of the program that makes a variable
        self._locals: dict[int, list[Local]] = defaultdict(list)
        self._exchanged: dict[int, list[tuple[Slot, Slot, int]]] = defaultdict(list)
        self._calls: dict[int, list[Equation]] = defaultdict(list)
        self._handed: dict[int, dict[Variable, Slot | None]] = defaultdict(dict)
        self._taken: dict[int, dict[Variable, Slot | None]] = defaultdict(dict)

    def plan(self) -> Plan:
        for variable in range(self._trace.inputs):
            self._shares[variable] = _Form(self._slot(), 0, self._bits)
        inputs = tuple(form.slot for form in self._shares.values())
        kinds = self._place()
        emit = {
            "linear": self._linear, "scale": self._scale, "product": self._product,
            "spu": self._call,
        }  # fmt: skip
        for equation in self._trace.equations:
            emit[kinds[equation.outputs[0]]](equation)
        result = self._trace.output
        output: Slot | None = None
        if result in self._called and result not in self._shares:
            self._taken[self._called[result]].setdefault(result, None)
        else:
            output = self._replicated(result).slot
        steps = tuple(self._ordered())
        return Plan(steps, _dropped(steps, output), inputs, _packed(self._trace), output, result)

    def _place(self) -> dict[Variable, Kind]:
        """Which way each equation goes, by its first output.

        A linear operation goes with SPU if it comes from there and makes smaller what is handed over, or where only SPU
        reads it, if it comes from there or makes that larger. A comparison's result as a number stays with SPU until
        it has been multiplied or added: SPU holds it as a boolean share, of which there are no words.
        """
        kinds: dict[Variable, Kind] = {}
        from_spu: set[Variable] = set()
        boolean: set[Variable] = set()
        for e in self._trace.equations:
            out = e.outputs[0]
            kinds[out] = self._kind(e)
            if not boolean.isdisjoint(e.secrets):
                kinds[out] = "spu"
            if e.name in _REARRANGING and any(v in boolean or self._trace.dtypes[v] == np.bool_ for v in e.secrets):
                boolean.add(out)
            if kinds[out] == "spu" or (kinds[out] != "product" and not from_spu.isdisjoint(e.secrets)):
                from_spu.update(e.outputs)
        for e in reversed(self._trace.equations):
            out, readers = e.outputs[0], self._consumers[e.outputs[0]]
            if kinds[out] in ("linear", "scale") and readers and out != self._trace.output:
                widens = kinds[out] == "linear" and len(e.secrets) == 1
                widens = widens and self._trace.size(out) >= self._trace.size(e.secrets[0])
                narrows = self._trace.size(out) < self._trace.size(e.secrets[0])
                only_spu = all(kinds[r.outputs[0]] == "spu" for r in readers)
                if (out in from_spu and (narrows or only_spu)) or (widens and only_spu):
                    kinds[out] = "spu"
        return kinds

    def _kind(self, e: Equation) -> Kind:
        if any(self._trace.dtypes[v] != np.float32 for v in (*e.secrets, *e.outputs)):
            return "spu"
        if e.name in LINEAR:
            return "linear"
        public = len(e.secrets) < len(e.inputs)
        if (e.name in ("dot_general", "mul") and not public) or (e.name == "integer_pow" and e.parameters["y"] == 2):
            return "product"
        if (e.name == "mul" and public) or (e.name == "div" and not isinstance(e.inputs[1], Variable)):
            return "scale"
        return "spu"

    def _linear(self, e: Equation) -> None:
        most = max(self._wide, _FRACTION) if len(e.inputs) > 1 else math.inf
        kept = [v for v in e.secrets if self._stays(v, e) and self._summands[v].bits <= most]
        if not any(self._trace.size(v) >= self._trace.size(e.outputs[0]) for v in kept) and not self._joins(e):
            kept = []
        if kept:
            bits = max(self._summands[v].bits for v in kept)
            inputs = [
                self._as_summand(x, bits, x in kept) if isinstance(x, Variable) else encode(x, bits) for x in e.inputs
            ]
            self._summands[e.outputs[0]] = self._local(e.name, inputs, bits, e.parameters)
        else:
            bits = self._bits
            inputs = [self._replicated(x) if isinstance(x, Variable) else encode(x, bits) for x in e.inputs]
            self._shares[e.outputs[0]] = self._local(e.name, inputs, bits, e.parameters)

    def _joins(self, e: Equation) -> bool:
        """Whether what an equation spreads goes into nothing but a summand that is as large."""
        (out,), readers = e.outputs, self._consumers[e.outputs[0]]
        if e.name not in ("reshape", "broadcast_in_dim") or len(readers) != 1 or out == self._trace.output:
            return False
        if readers[0].name in ("reshape", "broadcast_in_dim"):
            return self._joins(readers[0])
        others = [v for v in readers[0].secrets if v != out]
        return readers[0].name in ("add", "sub") and any(
            self._stays(v, readers[0]) and self._trace.size(v) >= self._trace.size(out) for v in others
        )

    def _scale(self, e: Equation) -> None:
        (v,), out = e.secrets, e.outputs[0]
        factor = np.asarray(e.inputs[1] if isinstance(e.inputs[0], Variable) else e.inputs[0], np.float64)
        integers, bits = _as_integers(1 / factor if e.name == "div" else factor)
        form = self._summands.get(v)
        small = np.abs(integers.view(np.int64)).max(initial=0) <= _SMALL
        fits = bits == 0 or (small and form is not None and form.bits + bits <= self._bits + MAX_SHIFT)
        grows = self._trace.size(out) > self._trace.size(v)
        if form is None or not fits or grows or not self._stays(v, e):
            form = self._replicated(v)
            if bits == 0:
                self._shares[out] = self._local("times", [form, integers], self._bits)
                return
            form = self._local("to_summand", [form], self._bits, {"shift": 0})
        if np.any(integers != 1):
            form = self._local("times", [form, integers], form.bits)
        self._summands[out] = replace(form, bits=form.bits + bits)

    def _product(self, e: Equation) -> None:
        operands = [self._replicated(v) for v in e.secrets]
        name = e.name if len(operands) == 1 or operands[0] != operands[1] or e.name != "mul" else "integer_pow"
        parameters = {"dimension_numbers": e.parameters["dimension_numbers"]} if e.name == "dot_general" else {}
        operands = operands[:1] if name == "integer_pow" else operands
        self._summands[e.outputs[0]] = self._local(_PRODUCTS[name], operands, self._wide, parameters)

    def _call(self, e: Equation) -> None:
        native = {v: self._replicated(v) for v in e.secrets if v not in self._called}
        earlier = {v: self._called[v] for v in e.secrets if v in self._called}
        level = max([*(form.level for form in native.values()), *earlier.values()])
        self._handed[level] |= {v: form.slot for v, form in native.items()}
        for v, made in earlier.items():
            if made < level:
                self._taken[made].setdefault(v, None)
                self._handed[level][v] = None
        self._calls[level].append(e)
        self._called |= dict.fromkeys(e.outputs, level)

    def _stays(self, v: Variable, e: Equation) -> bool:
        """Whether an equation takes a variable as the summand that it is.

        Not if others read it too: each reader's result would be exchanged, in place of the variable once. Unless it is
        small, when only the number of exchanges one after another counts; then an operation on it alone does no harm.
        """
        if v not in self._summands or v == self._trace.output:
            return False
        return len(self._consumers[v]) == 1 or (self._trace.size(v) <= _FEW and len(e.secrets) == 1)

    def _replicated(self, v: Variable) -> _Form:
        """A variable as replicated shares: exchanged, or fetched from SPU, if it is not that yet."""
        if v not in self._shares:
            slot = self._slot()
            if v in self._called:
                level = self._called[v]
                self._taken[level][v] = slot
            else:
                summand = self._summands[v]
                level = summand.level
                self._exchanged[level].append((summand.slot, slot, summand.bits - self._bits))
            self._shares[v] = _Form(slot, level + 1, self._bits)
        return self._shares[v]

    def _as_summand(self, v: Variable, bits: int, kept: bool) -> _Form:
        form = self._summands[v] if kept else self._replicated(v)
        if kept and form.bits == bits:
            return form
        return self._local("to_summand", [form], bits, {"shift": bits - form.bits})

    def _local(
        self,
        operation: str,
        inputs: Sequence[_Form | np.ndarray],
        bits: int,
        parameters: Mapping[str, Any] | None = None,
    ) -> _Form:
        level = max(x.level for x in inputs if isinstance(x, _Form))
        form = _Form(self._slot(), level, bits)
        slots = tuple(x.slot if isinstance(x, _Form) else x for x in inputs)
        self._locals[level].append(Local(operation, slots, form.slot, parameters or {}))
        return form

    def _slot(self) -> Slot:
        self._slots += 1
        return self._slots - 1

    def _ordered(self) -> Iterator[Step]:
        for level in range(1 + max((*self._locals, *self._exchanged, *self._calls), default=0)):
            yield from self._locals[level]
            if self._exchanged[level]:
                summands, shares, shifts = zip(*self._exchanged[level], strict=True)
                yield Exchange(summands, shares, shifts)
            if self._calls[level]:
                inputs, outputs = self._handed[level], self._taken[level]
                shapes = tuple(self._trace.shapes[v] for v in inputs)
                dtypes = tuple(self._trace.dtypes[v] for v in inputs)
                yield Call(tuple(self._calls[level]), tuple(inputs.items()), tuple(outputs.items()), shapes, dtypes)


_REARRANGING = frozenset(LINEAR) - {"add", "add_any", "sub", "neg", "reduce_sum"}
_PRODUCTS = {"dot_general": "matrix_product", "mul": "product", "integer_pow": "square"}


def _as_integers(factor: np.ndarray) -> tuple[Words, int]:
    """Public numbers as ring elements over a power of two: exact if few bits do, else to 18 bits of the largest."""
    if factor.size and np.all(factor == factor.flat[0]):
        factor = factor.reshape(-1)[0]
    if not np.all(np.isfinite(factor)):
        raise ValueError("a stage multiplies by a public number that is not finite")
    largest = float(np.abs(factor).max(initial=0))
    most = min(MAX_SHIFT, max(0, _CONSTANT_BITS - math.frexp(largest)[1]))
    bits = next((b for b in range(most) if np.all(factor * 2.0**b == np.rint(factor * 2.0**b))), most)
    return encode(factor, bits), bits


def _dropped(steps: Sequence[Step], output: Slot | None) -> tuple[tuple[Slot, ...], ...]:
    last: dict[Slot, int] = {}
    for i, step in enumerate(steps):
        if isinstance(step, Local):
            touched = [*(x for x in step.inputs if isinstance(x, Slot)), step.output]
        elif isinstance(step, Exchange):
            touched = [*step.summands, *step.shares]
        else:
            touched = [slot for _, slot in (*step.inputs, *step.outputs) if slot is not None]
        last |= dict.fromkeys(touched, i)
    return tuple(tuple(s for s, at in last.items() if at == i and s != output) for i in range(len(steps)))
