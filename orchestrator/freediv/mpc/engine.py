"""How a stage is run on shares: the seam between a model and what executes it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Protocol

from ..errors import UserError
from ..model import Architecture, Stage
from ..model.blocks import multiply_heads
from .block_diagonal import block_diagonal
from .cutting.jaxprs import Others, instead, with_others
from .records import Traffic
from .shares_engine import SharesEngine
from .sharing.settings import Products
from .sharing.shares import Share
from .spu.programs import Program, compile_program, stage_function
from .spu.runtime import Lane, Runtime


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

    `others` replace functions of the model.
    """

    def __init__(self, architecture: Architecture, runtime: Runtime, others: Others | None = None) -> None:
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


ENGINES: dict[Products, Callable[[Architecture, Runtime], Engine]] = {
    "spu": SpuEngine,
    "spu-blocks": partial(SpuEngine, others=instead({multiply_heads: block_diagonal})),
    "shares": SharesEngine,
}
"""By what `products` names."""


def make_engine(products: str, architecture: Architecture, runtime: Runtime) -> Engine:
    """An engine by its name.

    Raises:
        UserError: there is none of this name.
    """
    if products not in ENGINES:
        raise UserError(f"products {products!r}: there is no such engine; known: {', '.join(ENGINES)}")
    return ENGINES[products](architecture, runtime)


def compile_stage(
    architecture: Architecture, stage: Stage, batch: int, length: int, others: Others | None = None
) -> Program:
    """A stage as one program, whose inputs are its parameters by name and then its activations."""
    function, shapes = stage_function(architecture, stage, batch, length)
    return compile_program(with_others(function, others) if others else function, shapes)
