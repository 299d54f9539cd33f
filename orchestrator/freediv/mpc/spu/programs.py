"""Stages as SPU programs, compiled by each party from the public architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import jax
import jax.numpy as jnp
import spu
from jax.typing import DTypeLike

from ...model import Architecture, Stage, input_shapes, stages
from ...model.answers import Output, answer_of
from ...model.limits import apart
from .kept import kept

Shape = tuple[int, ...]

_OPTIONS = {"enable_optimize_denominator_with_broadcast": True}
"""Of SPU's compiler: one reciprocal a row in place of a division an element."""


@dataclass(frozen=True)
class Program:
    """A compiled function of secret arrays: it holds shapes and public constants, never a weight.

    `code` is the same, byte for byte, wherever the same function is compiled for the same shapes; `digest` is its
    SHA-256, in hexadecimal.
    """

    code: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the code."""
        return hashlib.sha256(self.code).hexdigest()

    def bind(self, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> spu.Executable:
        """The program over these variables."""
        return spu.Executable(name=name, input_names=list(inputs), output_names=list(outputs), code=self.code)


def compile_program(
    function: Callable[..., jax.Array], shapes: Sequence[Shape], dtypes: Sequence[DTypeLike] | None = None
) -> Program:
    """Compile a function of secret arrays of the given shapes, in that order; of float32 unless `dtypes` are given."""
    arguments = [
        jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
        for shape, dtype in zip(shapes, dtypes or [jnp.float32] * len(shapes), strict=True)
    ]

    def program(*arrays: jax.Array) -> jax.Array:
        return function(*arrays)

    lowered = jax.jit(program, keep_unused=True).trace(*arguments).lower(lowering_platforms=("interpreter",))
    source = lowered.as_text()
    if "stablehlo.sort" in source:
        raise NotImplementedError("JAX sorts floats by their bits, which shares do not have")

    def compile() -> bytes:
        options = spu.CompilerOptions()
        for name, value in _OPTIONS.items():
            setattr(options, name, value)
        hlo = lowered.compiler_ir("hlo").as_serialized_hlo_module_proto()
        secret = [spu.Visibility.VIS_SECRET] * len(shapes)
        return spu.libspu.compile(spu.libspu.CompilationSource(spu.libspu.SourceIRType.XLA, hlo, secret), options)

    return Program(kept(f"spu {spu.__version__} {sorted(_OPTIONS.items())}\n{source}", compile))


def secure_stages(architecture: Architecture, output: Output) -> tuple[Stage, ...]:
    """The folded stages that a secure run consists of; the last one gives the answer, as `model.answers` encodes it."""
    *rest, last = stages(architecture, folded=True)
    answer = answer_of(architecture)

    def answered(parameters: Mapping[str, jax.Array], *inputs: jax.Array, **observed: Any) -> jax.Array:
        result = last.apply(parameters, *inputs, **observed)
        logits, compared = apart(result, answer.logits_shape(architecture, inputs[0].shape[1]))
        return answer.encode(architecture, logits, compared, output)

    return (*rest, replace(last, apply=answered, signature=(last.signature, output)))


def activation_shapes(architecture: Architecture, stage: Stage, batch: int, length: int) -> dict[str, Shape]:
    """Shapes of everything that a stage may read, by activation name."""
    found: dict[str, Shape] = dict(input_shapes(architecture, batch, length))
    for before in takewhile(lambda one: one.name != stage.name, stages(architecture, folded=True)):
        found[before.output] = (batch, before.rows_left(length), architecture.hidden)
    return found


def stage_function(
    architecture: Architecture, stage: Stage, batch: int, length: int
) -> tuple[Callable[..., jax.Array], list[Shape]]:
    """A stage as a function of arrays, which are its parameters by name and then its activations; and their shapes."""
    names, activations = sorted(stage.parameter_shapes), activation_shapes(architecture, stage, batch, length)

    def function(*arrays: jax.Array) -> jax.Array:
        return stage.apply(dict(zip(names, arrays, strict=False)), *arrays[len(names) :])

    return function, [*(stage.parameter_shapes[name] for name in names), *(activations[name] for name in stage.inputs)]
