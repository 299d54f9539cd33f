"""One step of a model: a named, pure function of parameters and activations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from ..later import Array
from .functions.norms import Observe, ignore
from .functions.pooling import Pool, rows_left

Parameters = dict[str, dict[str, Array]]
"""Stage name -> parameter name -> array."""
Shape = tuple[int, ...]
BlockName = Literal["embedding", "attention", "feed_forward", "pooling", "classifier"]


Dropout: TypeAlias = Callable[[str, Array], Array]
"""Called with a name that is unique within one forward pass, and the activation that is to be thinned."""


def keep(name: str, x: Array) -> Array:
    """Drop nothing."""
    return x


class Apply(Protocol):
    """A stage's function."""

    def __call__(
        self, parameters: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array: ...


@dataclass(frozen=True)
class Stage:
    """One step of the model.

    `inputs` are the activations it reads, in the order in which `apply` takes them; `parameter_shapes` the parameters
    it must be given; `pools` how the rows that it leaves were pooled, `first` how many of these it leaves, from the
    first (None: all), and `limited` whether they have limits. Two stages of equal `signature` compile to the same
    program for the same batch and length.
    """

    name: str
    block: BlockName
    layer: int | None
    inputs: tuple[str, ...]
    output: str
    parameter_shapes: Mapping[str, Shape] = field(hash=False, compare=False)
    apply: Apply = field(hash=False, compare=False, repr=False)
    signature: Hashable = field(compare=False, repr=False)
    pools: tuple[Pool, ...] = ()
    limited: bool = False
    first: int | None = None

    def rows_left(self, length: int) -> int:
        """How many rows it leaves of a text so long."""
        return rows_left(self.pools, length) if self.first is None else self.first
