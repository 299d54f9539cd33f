"""Stages cut at their products, which run on the shares themselves; SPU does the rest. For ABY3 in the ring FM64."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import jax
import numpy as np

from ..errors import UserError
from ..model import Architecture, Stage
from .cutting.plans import Call, Exchange, Local, Plan, Slot
from .cutting.segments import cut, packed_arguments
from .records import Traffic
from .replicated.products import MatrixProducts, Packed, Words
from .replicated.protocol import Replicated, compile_ahead
from .replicated.words import LINEAR, lift, matrix_product, pack, product, square, times, to_summand
from .sharing.shares import Share
from .spu.programs import Program, compile_program, stage_function
from .spu.runtime import Lane, Runtime


@dataclass(frozen=True)
class _Prepared:
    plan: Plan
    programs: tuple[Program, ...]
    digest: str


_ends: WeakKeyDictionary[Lane, Replicated] = WeakKeyDictionary()
"""This party's end of the protocol in each lane: one, whatever models come and go, so that all parties stay in step."""


def end_of(lane: Lane) -> Replicated:
    """This party's end of the protocol in a lane; the first call is made at all parties at once."""
    if lane not in _ends:
        _ends[lane] = Replicated(lane.link)
    return _ends[lane]


class SharesEngine:
    """Runs stages by their plans (`segments`).

    Weights that are only ever multiplied with lie packed for it, in half the room that their shares would take.

    Raises:
        UserError: the protocol is another than ABY3 in FM64.
    """

    def __init__(self, architecture: Architecture, runtime: Runtime) -> None:
        settings = runtime.settings
        if (settings.name, settings.field) != ("ABY3", "FM64"):
            raise UserError(
                f"products: shares needs protocol ABY3 in FM64, this is {settings.name} in {settings.field}: "
                "set products: spu"
            )
        self._architecture, self._runtime = architecture, runtime
        self._products = MatrixProducts(runtime.threads)
        make_ready(self._products)
        self._parameters: dict[str, Words | Packed] = {}
        self._packed: dict[Hashable, frozenset[int]] = {}
        self._prepared: dict[tuple[Hashable, int, int], _Prepared] = {}

    def load(self, stage: Stage, name: str, share: Share) -> None:
        """Keep a parameter's words, packed where it is the right-hand side of products."""
        if stage.signature not in self._packed:
            self._packed[stage.signature] = packed_arguments(
                *stage_function(self._architecture, stage, 1, self._architecture.buckets[0])
            )
        words = share.words()
        if sorted(stage.parameter_shapes).index(name) in self._packed[stage.signature]:
            self._parameters[f"{stage.name}/{name}"] = pack(self._products, words, self._runtime.rank)
        else:
            self._parameters[f"{stage.name}/{name}"] = np.stack(words)

    def take_programs(self, other: SharesEngine) -> None:
        """Share the plans and their programs."""
        self._packed, self._prepared = other._packed, other._prepared

    def forget(self) -> None:
        """Let go of all words."""
        self._parameters.clear()

    def prepare(self, stage: Stage, batch: int, length: int) -> str:
        """Cut the stage and compile what is left for SPU; SHA-256 of the plan and its programs."""
        key = (stage.signature, batch, length)
        if key not in self._prepared:
            plan = cut(*stage_function(self._architecture, stage, batch, length), self._runtime.settings.fraction_bits)
            calls = [step for step in plan.steps if isinstance(step, Call)]
            programs = tuple(
                compile_program(cast(Callable[..., jax.Array], call.function), call.shapes, call.dtypes)
                for call in calls
            )
            self._prepared[key] = _Prepared(plan, programs, plan.digest([p.digest for p in programs]))
        return self._prepared[key].digest

    def execute(self, stage: Stage, batch: int, length: int, lane: Lane) -> Traffic:
        """Run the stage's plan over its own parameters."""
        replicated = end_of(lane)
        prepared = self._prepared[stage.signature, batch, length]
        plan = prepared.plan
        arguments = [self._parameters[f"{stage.name}/{name}"] for name in sorted(stage.parameter_shapes)]
        arguments += [np.stack(lane.get(name).words()) for name in stage.inputs]
        run = _Run(lane, replicated, self._products, stage, plan, arguments)
        traffic = run.all(iter(prepared.programs))
        if plan.output is not None:
            lane.set(stage.output, share_of(run.values[plan.output]))
        return traffic + replicated.channel.take_traffic()


def make_ready(products: MatrixProducts | None = None) -> None:
    """Have the machine code compiled: where no earlier run left it on disk, that takes seconds."""
    products, nothing = products or MatrixProducts(1), np.zeros((1, 1, 1), np.uint64)
    compile_ahead()
    products.multiply(nothing, products.pack(nothing))


class _Run:
    """One execution of a plan."""

    def __init__(
        self,
        lane: Lane,
        replicated: Replicated,
        products: MatrixProducts,
        stage: Stage,
        plan: Plan,
        arguments: Any,
    ) -> None:
        self._lane, self._replicated, self._products = lane, replicated, products
        self._stage, self._plan = stage, plan
        self.values: dict[Slot, Any] = dict(zip(plan.inputs, arguments, strict=True))

    def all(self, programs: Iterator[Program]) -> Traffic:
        """All steps; returns SPU's traffic."""
        traffic = Traffic()
        for step, dropped in zip(self._plan.steps, self._plan.dropped, strict=True):
            if isinstance(step, Local):
                self.values[step.output] = compute(step, self.values, self._replicated.rank, self._products)
            elif isinstance(step, Exchange):
                self._exchange(step)
            else:
                traffic += self._call(step, next(programs))
            for slot in dropped:
                del self.values[slot]
        return traffic

    def _exchange(self, step: Exchange) -> None:
        summands = [self.values[slot][0] for slot in step.summands]
        self.values |= zip(step.shares, self._replicated.truncate(summands, step.shifts), strict=True)

    def _call(self, step: Call, program: Program) -> Traffic:
        for variable, slot in step.inputs:
            if slot is not None:
                self._lane.set(self._name(variable), share_of(self.values[slot]))
        names = [[self._lane.variable(self._name(v)) for v, _ in some] for some in (step.inputs, step.outputs)]
        traffic = self._lane.run(program.bind(self._stage.name, *names))
        for variable, slot in step.outputs:
            if slot is not None:
                self.values[slot] = np.stack(self._lane.get(self._name(variable)).words())
        return traffic

    def _name(self, variable: int) -> str:
        if variable == self._plan.result and self._plan.output is None:
            return self._stage.output
        return f"{self._stage.name}/value {variable}"


def compute(step: Local, values: Mapping[Slot, Any], rank: int, products: MatrixProducts) -> Words:
    """One local step of a party: the words of its output."""
    inputs = [values[x] if isinstance(x, Slot) else x for x in step.inputs]
    match step.operation:
        case "matrix_product":
            x, y = inputs
            return matrix_product(x, y, rank, products, **step.parameters)
        case "product":
            x, y = inputs
            return product(x, y, rank)
        case "square":
            return square(inputs[0], rank)
        case "times":
            return times(inputs[0], inputs[1])
        case "to_summand":
            return to_summand(inputs[0], **step.parameters)
    planes = next(len(x) for x, own in zip(inputs, step.inputs, strict=True) if isinstance(own, Slot))
    inputs = [x if isinstance(own, Slot) else lift(x, planes, rank) for x, own in zip(inputs, step.inputs, strict=True)]
    return LINEAR[step.operation](*inputs, **step.parameters)


def share_of(words: Words) -> Share:
    """A party's two words of an array, as a share."""
    meta = {"storage_type": "aby3.AShr<FM64>", "shape": words.shape[1:], "parts": ("words", "words")}
    return Share(json.dumps(meta).encode(), tuple(np.ascontiguousarray(word).tobytes() for word in words))
