"""Stages as SPU programs, compiled by each party from the public architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import spu
from jax.typing import DTypeLike
from spu.utils import frontend

from ..transformer import Architecture, Stage, input_shapes, stages
from .commands import Output

Shape = tuple[int, ...]


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
    """Compile a function of secret arrays of the given shapes, in that order; of float32 unless `dtypes` are given.

    With SPU's denominator option always: one reciprocal a row in place of a division an element.
    """
    options = spu.CompilerOptions()
    options.enable_optimize_denominator_with_broadcast = True
    arguments = [
        jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
        for shape, dtype in zip(shapes, dtypes or [jnp.float32] * len(shapes), strict=True)
    ]

    def program(*arrays: jax.Array) -> jax.Array:
        return function(*arrays)

    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        program,
        arguments,
        {},
        input_names=[f"in{i}" for i in range(len(shapes))],
        input_vis=[spu.Visibility.VIS_SECRET] * len(shapes),
        outputNameGen=lambda flat: [f"out{i}" for i in range(len(flat))],
        copts=options,
    )
    return Program(executable.code)


def secure_stages(architecture: Architecture, output: Output) -> tuple[Stage, ...]:
    """The folded stages that a secure run consists of; the last one gives the answer.

    With `output="label"` that is the index of the largest logit, int32 [batch], so that an answer gives no more than
    the prediction away; where rows have limits, the number of labels is added for each row beyond its own. With
    "logits" it is those [batch, labels]; where rows have limits, with one more column: 1, or all are 0.
    """
    *rest, last = stages(architecture, folded=True)
    if output == "label":
        last = replace(last, apply=_label_of(last, architecture.labels), signature=(last.signature, output))
    elif architecture.row_limits:
        last = replace(last, apply=_logits_of(last, architecture.labels), signature=(last.signature, output))
    return (*rest, last)


def _label_of(stage: Stage, labels: int) -> Callable[..., jax.Array]:
    def label(parameters: dict[str, jax.Array], *inputs: jax.Array) -> jax.Array:
        result = stage.apply(parameters, *inputs)
        logits, limited = result[:, :labels], result.shape[-1] > labels
        if labels > 2:
            found, beyond = jnp.argmax(logits, axis=-1).astype(jnp.int32), result[:, labels:] > 0
        elif limited:  # one comparison for all; SPU's argmax takes more
            above = jnp.concatenate([logits[:, 1:] - logits[:, :1], result[:, labels:]], axis=-1) > 0
            found, beyond = above[:, 0].astype(jnp.int32), above[:, 1:]
        else:
            found = (logits[:, 1] > logits[:, 0]).astype(jnp.int32)
        return found + labels * jnp.sum(beyond.astype(jnp.int32), axis=-1) if limited else found

    return label


def _logits_of(stage: Stage, labels: int) -> Callable[..., jax.Array]:
    def logits(parameters: dict[str, jax.Array], *inputs: jax.Array) -> jax.Array:
        result = stage.apply(parameters, *inputs)
        beyond = jnp.sum((result[:, labels:] > 0).astype(jnp.int32), axis=-1, keepdims=True)
        kept = (beyond < 1).astype(jnp.float32)
        return jnp.concatenate([result[:, :labels] * kept, kept], axis=-1)

    return logits


def activation_shapes(architecture: Architecture, batch: int, length: int) -> dict[str, Shape]:
    """Shapes of everything that a stage may read, by activation name."""
    rows = {stage.output: (batch, length, architecture.hidden) for stage in stages(architecture, folded=True)[:-1]}
    return input_shapes(architecture, batch, length) | rows
