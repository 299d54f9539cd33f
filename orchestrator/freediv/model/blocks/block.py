"""What a block of the model says of itself, and what blocks between norms have in common.

A block is one step of the model: what it reads and holds, its function, how it folds, what bounds it, how its
constants start. Nothing of that is said anywhere else. Folding moves constants into neighbouring weights, exactly: a
norm's weight and bias into what reads its result, the mean that a norm takes out into the linear maps before.

A model's blocks normalise what they leave, or all of them what they read (`norm_first`): then each adds its branch to a
stream of rows that no norm touches, and folding keeps that without a mean, as every norm that reads it would take it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from ...later import Array, jnp
from ..architecture import Architecture
from ..functions.constant import Constant
from ..functions.norms import NORMALISATIONS, Normalisation, Observe, ignore
from ..functions.pooling import Pool
from ..precision import multiply
from ..stage import BlockName, Dropout, Shape, Stage, keep

Own = dict[str, Array]
"""A block's parameters."""
Folded = Mapping[str, np.ndarray]
"""A block's folded parameters, in double precision."""


@dataclass(frozen=True)
class Rows:
    """Rows of at most this length (Euclidean), whose sum is zero if they are `centred`."""

    length: float
    centred: bool


@dataclass(frozen=True)
class Bound:
    """What no rows take a block beyond; infinite where nothing is known.

    Attributes:
        largest: the largest magnitude on the way, and the length of the longest row that a norm takes.
        rooted: the length of the longest row that a norm takes whose root it needs; zero if none does.
        left: the rows that it leaves.
    """

    largest: float
    rooted: float
    left: Rows


@dataclass(frozen=True)
class NormWeight:
    """What a folded norm leaves to the block that reads its result: weight and bias [hidden]."""

    weight: Array
    bias: Array


class Block(ABC):
    """One block of an architecture.

    Attributes:
        kind: which block it is.
        layer: its layer; None outside of layers.
        before: the norm whose weight and bias are still to be taken in by who reads its rows.
        norm: its own, of what it leaves, or of what it reads where that comes first.
        normed_width: of the rows that its norm takes.
        norm_first: whether its norm is of what it reads.
        pools: how the rows that it reads were pooled.
        first: how many rows it leaves of those, from the first, when it is folded; None: all. In the last layer nobody
            reads the others: they are not made.
    """

    kind: ClassVar[BlockName]
    output: ClassVar[str] = "hidden"
    norm_first = False

    def __init__(
        self, architecture: Architecture, layer: int | None = None, before: str = "none", norm: str = "none"
    ) -> None:
        self.architecture, self.layer, self.normed_width = architecture, layer, architecture.hidden
        self.before, self.norm = NORMALISATIONS[before], NORMALISATIONS[norm]
        self.pools: tuple[Pool, ...] = () if layer is None else architecture.pools_before(layer)
        self.first = architecture.answers_from if layer is not None and layer == architecture.layers - 1 else None

    @property
    def name(self) -> str:
        """Of its stage."""
        return self.kind if self.layer is None else f"encoder.{self.layer}.{self.kind}"

    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """The activations that it reads."""

    @abstractmethod
    def shapes(self, folded: bool) -> dict[str, Shape]:
        """The shapes of its parameters, without those of its norm and constants."""

    @abstractmethod
    def apply(
        self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        """Its function."""

    @abstractmethod
    def fold(self, own: Own, before: NormWeight | None) -> Own:
        """Its parameters with constants moved into weights, and the norm before taken in; its own norm aside, unless
        that comes first.
        """

    @abstractmethod
    def bound(self, own: Folded, rows: Rows) -> Bound:
        """What no rows take it beyond."""

    def constants(self) -> Iterator[tuple[str, Constant, Shape]]:
        """The constants of its functions: parameter, what the function says of it, shape."""
        for name, constant in self.norm.constants.items():
            yield f"norm.{name}", constant, (2,)

    def starts(self) -> dict[str, np.ndarray]:
        """Its constants before any calibration."""
        return {name: np.full(shape, one.start, np.float32) for name, one, shape in self.constants()}

    def lacks(self, name: str) -> bool:
        """Whether a parameter is a bias that the model is without: zero, until folding puts something there."""
        without = self.architecture.without_bias
        part = "norm" if name.endswith("norm.bias") else self.kind
        return name.endswith(".bias") and part in without

    def completed(self, p: Mapping[str, Array]) -> Own:
        """Unfolded parameters, with the biases that it lacks."""
        lacking = {n: shape for n, shape in self._unfolded_shapes().items() if n not in p and self.lacks(n)}
        return {**p, **{name: jnp.zeros(shape) for name, shape in lacking.items()}}

    def variant(self) -> tuple[Hashable, ...]:
        """What its program depends on beside shapes."""
        return (self.norm.name, self.architecture.norm_epsilon)

    def stage(self, folded: bool) -> Stage:
        """As a step of the model."""
        shapes, function = self._unfolded_shapes(), self._apply_unfolded
        if folded:
            shapes = self.shapes(True) | norm_shapes(self.norm, self.normed_width, True)
            function = partial(self.apply, True)
        else:
            shapes = {name: shape for name, shape in shapes.items() if not self.lacks(name)}
        first = self.first if folded else None
        signature = (self.kind, folded, *self.variant(), self.pools, first, tuple(sorted(shapes.items())))
        inputs, left = self.inputs(), self.left_pools
        return Stage(
            self.name,
            self.kind,
            self.layer,
            inputs,
            self.output,
            shapes,
            function,
            signature,
            left,
            self.limited,
            first,
        )

    def _unfolded_shapes(self) -> dict[str, Shape]:
        shapes = self.shapes(False) | norm_shapes(self.norm, self.normed_width, False)
        return shapes | {name: shape for name, _, shape in self.constants()}

    def _apply_unfolded(
        self, parameters: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        return self.apply(False, self.completed(parameters), *inputs, dropout=dropout, observe=observe)

    def normalise(self, folded: bool, x: Array, p: Mapping[str, Array], observe: Observe) -> Array:
        """Its norm."""
        own = {name.removeprefix("norm."): value for name, value in p.items() if name.startswith("norm.")}
        function = self.norm.folded if folded else self.norm.apply
        return function(x, own, self.architecture.norm_epsilon, observe)

    @property
    def left_pools(self) -> tuple[Pool, ...]:
        """How the rows that it leaves were pooled."""
        return self.pools

    @property
    def limited(self) -> bool:
        """Whether the rows that it leaves have a limit: where its norm has a constant for its root."""
        return self.architecture.row_limits and not self.norm_first and bool(self.norm.constants)

    @property
    def after(self) -> Normalisation:
        """The norm whose weight and bias it hands over."""
        return NORMALISATIONS["none"] if self.norm_first else self.norm

    def hand_over(self, own: Own, before: NormWeight | None) -> NormWeight | None:
        """Take weight and bias of its norm out of its parameters, for the block that reads its result; `before` are
        those that it was handed itself.
        """
        return None if self.norm_first else self.take_norm(own)

    def take_norm(self, own: Own) -> NormWeight | None:
        """Take weight and bias of its norm out of its parameters."""
        if not self.norm.scales:
            return None
        weight, bias = own.pop("norm.weight"), own.pop("norm.bias")
        if self.norm.constants:
            first, others = own.pop("norm.log_g")
            own.pop("norm.anneal", None)
            own["norm.first"] = jnp.exp(first - others)
            weight = jnp.exp(others) * weight
        return NormWeight(weight, bias)

    def bounded(self, own: Folded, largest: float, length: float) -> Bound:
        """Where its norm is the last step, of rows of at most this length; and the largest magnitude before."""
        return Bound(max(largest, length), length if self.norm.root else 0.0, self.normed(own, length))

    def normed(self, own: Folded, length: float) -> Rows:
        """The rows that its norm makes of rows of at most this length."""
        return Rows(self.norm.length(own, length, self.normed_width), self.norm.centres)


def dense(x: Array, weight: Array, bias: Array) -> Array:
    """x [..., n] times weight [n, m] plus bias [m]: one plain matrix product, whatever the leading dimensions."""
    rows = multiply(x.reshape(-1, x.shape[-1]), weight) + bias
    return rows.reshape(*x.shape[:-1], weight.shape[-1])


def norm_shapes(norm: Normalisation, hidden: int, folded: bool) -> dict[str, Shape]:
    """The shapes of a norm's parameters, without its constants."""
    if folded:
        return {f"norm.{name}": () for name in norm.folded_constants}
    return {"norm.weight": (hidden,), "norm.bias": (hidden,)} if norm.scales else {}


def into(norm: NormWeight, name: str, own: Own) -> None:
    """A norm's weight and bias into the linear map that reads its result; `name` is empty where the block is one."""
    prefix = f"{name}." if name else ""
    own[f"{prefix}bias"] = own[f"{prefix}bias"] + norm.bias @ own[f"{prefix}weight"]
    own[f"{prefix}weight"] = norm.weight[:, None] * own[f"{prefix}weight"]


def take_constants(own: Own) -> Own:
    """The constants of a block's function, out of its parameters."""
    names = [name for name in own if name.startswith("constants.")]
    return {name.removeprefix("constants."): own.pop(name) for name in names}


def constants_of(p: Mapping[str, Array]) -> Own:
    """The constants of a block's function."""
    return {name.removeprefix("constants."): value for name, value in p.items() if name.startswith("constants.")}


def as_read(weight: np.ndarray, rows: Rows) -> np.ndarray:
    """A weight without what it makes of a row's mean, where rows have none."""
    return weight - weight.mean(axis=0) if rows.centred else weight


def largest_product(weight: np.ndarray, bias: np.ndarray, length: float) -> float:
    """The largest element of a row of at most this length, times weight plus bias."""
    return float(np.max(length * np.linalg.norm(weight, axis=0) + np.abs(bias)))


UNKNOWN = (math.inf, math.inf)
"""The bound of a block of which nothing is known."""
