"""What a normalisation says of itself.

Folded, it takes rows that are centred already where it centres, and leaves out weight and bias: folding has moved all
that into the linear maps before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from ....later import Array, jnp
from ..constant import Constant
from ..origin import Origin

Observe: TypeAlias = Callable[[str, Array], None]


def ignore(name: str, value: Array) -> None:
    """Observe nothing."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """One normalisation. What has no default has to be said.

    Attributes:
        name: in recipes and configurations.
        origin: where it comes from, and how parties compute it.
        apply: of (x, parameters, epsilon, observe).
        folded: the same of folded parameters, which are scalars.
        centres: whether it takes the mean out of its rows, which folding then does before it.
        scales: whether it has a weight and a bias.
        root: whether it takes the root of a row's mean square.
        length: of (folded parameters, the longest row that goes in, their width), the longest row that comes out.
        bounds: whether that is so whatever goes in.
        constants: by name; each is an array [2], for position 0 and for all others.
        folded_constants: names of folded ones.
    """

    name: str
    origin: Origin
    apply: Callable[[Array, Mapping[str, Array], float, Observe], Array]
    folded: Callable[[Array, Mapping[str, Array], float, Observe], Array]
    centres: bool
    scales: bool
    root: bool
    bounds: bool
    length: Callable[[Mapping[str, np.ndarray], float, int], float]
    constants: Mapping[str, Constant] = field(default_factory=dict)
    folded_constants: tuple[str, ...] = ()


def centred(x: Array) -> Array:
    """x - mean over the last axis."""
    return x - jnp.mean(x, axis=-1, keepdims=True)


def variance(x: Array, observe: Observe) -> Array:
    """The mean square of a centred row."""
    found = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    observe("variance", found)
    return found
