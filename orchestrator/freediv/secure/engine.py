"""How a stage is run on shares: the seam between a model and what executes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, Protocol

import jax

from ..errors import UserError
from ..transformer import Architecture, Stage
from .blocks import block_diagonal, with_others
from .programs import Program, activation_shapes, compile_program
from .records import Traffic
from .runtime import Lane, Runtime
from .shares import Share
from .shares_engine import SharesEngine


class Engine(Protocol):
    """One way to run the stages of a model. It lives where the runtime does, and holds the model's weights."""

    def load(self, stage: Stage, name: str, share: Share) -> None:
        """Take in one parameter, before anything runs."""

    def take_programs(self, other: Any) -> None:
        """Take over what another engine of the same kind has compiled for the same architecture."""

    def forget(self) -> None:
        """Let go of all parameters: nothing will run any more."""

    def prepare(self, stage: Stage, batch: int, length: int) -> str:
        """Compile (once per signature and shape); returns a SHA-256 of all that would run, free of names and ranks."""

    def execute(self, stage: Stage, batch: int, length: int, lane: Lane) -> Traffic:
        """Read the lane's variables that `stage.inputs` names, write `stage.output`; all that it sent and received."""


class SpuEngine:
    """Whole stages as SPU programs: works under every protocol, and is what other engines are tested against.

    `others` replace functions of `transformer`, by their names.
    """

    def __init__(
        self, architecture: Architecture, runtime: Runtime, others: Mapping[str, Callable[..., jax.Array]] | None = None
    ) -> None:
        self._architecture, self._runtime, self._others = architecture, runtime, others or {}
        self._programs: dict[tuple[Hashable, int, int], Program] = {}
        self._model = next(_models)
        self._names: list[str] = []

    def load(self, stage: Stage, name: str, share: Share) -> None:
        """Keep a parameter as an SPU variable."""
        self._names.append(self._variable(stage, name))
        self._runtime.set(self._names[-1], share)

    def take_programs(self, other: SpuEngine) -> None:
        """Share the programs."""
        self._programs = other._programs

    def forget(self) -> None:
        """Delete the variables."""
        for name in self._names:
            self._runtime.delete(name)
        self._names = []

    def prepare(self, stage: Stage, batch: int, length: int) -> str:
        """Compile the stage; SHA-256 of its program."""
        key = (stage.signature, batch, length)
        if key not in self._programs:
            self._programs[key] = compile_stage(self._architecture, stage, batch, length, self._others)
        return self._programs[key].digest

    def execute(self, stage: Stage, batch: int, length: int, lane: Lane) -> Traffic:
        """Run the stage's program over its own parameters."""
        program = self._programs[stage.signature, batch, length]
        parameters = [self._variable(stage, name) for name in sorted(stage.parameter_shapes)]
        activations = map(lane.variable, stage.inputs)
        return lane.run(program.bind(stage.name, [*parameters, *activations], [lane.variable(stage.output)]))

    def _variable(self, stage: Stage, name: str) -> str:
        return f"model {self._model}/{stage.name}/{name}"  # two models' parameters may be there at once


_models = itertools.count()


ENGINES: dict[str, Callable[[Architecture, Runtime], Engine]] = {
    "spu": SpuEngine,
    "spu-blocks": partial(SpuEngine, others={"multiply_heads": block_diagonal}),
    "shares": SharesEngine,
}
"""What `products` may name: how the matrix products of a stage are computed."""


def make_engine(products: str, architecture: Architecture, runtime: Runtime) -> Engine:
    """An engine by its name.

    Raises:
        UserError: there is none of this name.
    """
    if products not in ENGINES:
        raise UserError(f"products {products!r}: there is no such engine; known: {', '.join(ENGINES)}")
    return ENGINES[products](architecture, runtime)


def compile_stage(
    architecture: Architecture,
    stage: Stage,
    batch: int,
    length: int,
    others: Mapping[str, Callable[..., jax.Array]] | None = None,
) -> Program:
    """A stage as one program, whose inputs are its parameters by name and then its activations."""
    names = sorted(stage.parameter_shapes)
    activations = activation_shapes(architecture, batch, length)
    shapes = [*(stage.parameter_shapes[name] for name in names), *(activations[name] for name in stage.inputs)]

    def function(*arrays: jax.Array) -> jax.Array:
        parameters = dict(zip(names, arrays, strict=False))
        return stage.apply(parameters, *arrays[len(names) :])

    return compile_program(with_others(function, others) if others else function, shapes)
