"""A model's parameters, of the tensors that a checkpoint holds, and these of a model's parameters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..answers import answer_of
from ..architecture import Architecture
from ..families import FAMILIES, Family
from ..families.family import OWN
from ..stages import parameter_shapes
from .storage import restore
from .weights_files import read_weights

NumpyParameters = dict[str, dict[str, np.ndarray]]

_BUFFERS = (".position_ids", ".token_type_ids")
"""Tensors that are no parameters."""
_MOST_BYTES, _MOST_BYTES_OF_OTHERS = 32, 1 << 26
"""Of a file for each number that is read, and for heads that are not."""


def tensors_of(architecture: Architecture, parameters: NumpyParameters) -> dict[str, np.ndarray]:
    """A model's parameters by their names in a file; what its family has once for all layers is there once while all
    layers have the same.
    """
    kind = family_in(architecture)
    tensors = {
        key: part
        for stage, own in parameters.items()
        for name, value in own.items()
        for key, part in kind.tensors_of(architecture, stage, name, np.asarray(value)).items()
    }
    once: dict[str, list[str]] = defaultdict(list)
    for key in tensors:
        for name in kind.others(key) if key.startswith(OWN) else ():
            once[name].append(key)
    for name, (first, *others) in once.items():
        if all(np.array_equal(tensors[first], tensors[other]) for other in others):
            tensors[name] = tensors[first]
            tensors = {key: value for key, value in tensors.items() if key not in (first, *others)}
    return tensors


def read_tensors(
    directory: Path, config: dict[str, Any], architecture: Architecture, *, any_head: bool = False
) -> dict[str, np.ndarray]:
    """The tensors of a model's directory, as its layers have them; with `any_head`, whatever is beside its encoder.

    Raises:
        UserError: they cannot be read, or some of them are no part of such a model.
    """
    numbers = sum(math.prod(shape) for own in parameter_shapes(architecture).values() for shape in own.values())
    path, stored = read_weights(directory, _MOST_BYTES_OF_OTHERS + _MOST_BYTES * numbers)
    try:
        tensors = restore(stored)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    kind = family_in(architecture)
    outside = (f"{kind.root}.", *kind.heads, *kind.aside, OWN)
    bare = not any(name.startswith(f"{kind.root}.") for name in tensors)  # an encoder, saved by itself
    found = {f"{kind.root}.{k}" if bare and not k.startswith(outside) else k: v for k, v in tensors.items()}
    beyond = kind.layer(architecture.layers)
    if any(name.startswith(beyond) for name in found):
        raise UserError(
            f"{path}: holds more layers than config.json's num_hidden_layers, {architecture.layers}: it is another "
            "model's"
        )
    try:
        whole = kind.completed(kind.in_common_words(config), found)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    root = f"{kind.root}." if any_head else ""
    _refuse_others(path, architecture, {name: value for name, value in whole.items() if name.startswith(root)})
    return whole


def _refuse_others(path: Path, architecture: Architecture, tensors: Mapping[str, np.ndarray]) -> None:
    """Refuse tensors of an encoder that are no parameters of it, such as an adapter's."""
    kind = family_in(architecture)
    keys = [
        key
        for stage, own in parameter_shapes(architecture).items()
        for name in own
        for key in kind.names_of(stage, name)[0]
    ]
    known = {name for key in keys for name in (key, *kind.others(key))}
    # Heads of other tasks are nothing to an encoder; those of this one have no other parts.
    heads = () if answer_of(architecture).linear else FAMILIES[kind.name].heads
    pooler = tuple(f"{kind.root}.pooler.{name}" for name in ("dense.weight", "dense.bias", "weight", "bias"))
    for name in tensors:
        if name in known or name in pooler or name.endswith(_BUFFERS) or name.startswith((OWN, *kind.aside, *heads)):
            continue
        raise UserError(f"{path}: holds {name}, which is no part of the model that config.json describes")


def family_in(architecture: Architecture) -> Family:
    """An architecture's, with the classifier that it has."""
    return FAMILIES[architecture.family].headed(answer_of(architecture).ending)


def has_parameter(kind: Family, tensors: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether a parameter of the classifier is there."""
    (key,), _ = kind.names_of("classifier", name)
    return any(one in tensors for one in (key, *kind.others(key)))


def collect(
    directory: Path,
    architecture: Architecture,
    tensors: Mapping[str, np.ndarray],
    stages: Collection[str] | None = None,
) -> NumpyParameters:
    """The parameters of some stages, or of all."""
    where, kind = directory / "model.safetensors", family_in(architecture)
    fetch = _fetcher(where, kind, tensors)
    parameters: NumpyParameters = {}
    for stage, shapes in parameter_shapes(architecture).items():
        if stages is not None and stage not in stages:
            continue
        own = parameters[stage] = {}
        for name, shape in shapes.items():
            value = kind.parameter_of(architecture, stage, name, fetch)
            (key, *_), _ = kind.names_of(stage, name)
            if value.shape != shape:
                labels = " (id2label)" if (stage, name) in {("classifier", "weight"), ("classifier", "bias")} else ""
                asked = f"config.json asks for {list(shape)}{labels}"
                raise UserError(f"{where}: {key} gives shape {list(value.shape)}, {asked}")
            own[name] = np.array(value, np.float32, order="C")
            if not np.isfinite(own[name]).all():
                raise UserError(f"{where}: {key} holds a number that is not finite")
    return parameters


def _fetcher(where: Path, kind: Family, tensors: Mapping[str, np.ndarray]) -> Callable[[str], np.ndarray]:
    def fetch(key: str) -> np.ndarray:
        for name in (key, *kind.others(key)):
            if name in tensors:
                if tensors[name].dtype.kind != "f":
                    raise UserError(f"{where}: {key} holds no floating-point numbers; save it as float32")
                return tensors[name]
        raise UserError(f"{where}: {key} is missing")

    return fetch
