"""Selected blocks: some layers of a model are trained, with what answers, and the rest stays as it is.

No gradient goes below the first layer that is trained, so that a step keeps no activations of what lies there; and
what stays has neither gradients nor moments (Sarkar et al. 2024, arXiv 2405.10951, "Block selective reprogramming for
on-device training of vision transformers").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import ValidationError

from ...errors import UserError
from ...model import Model, convert_functions

_MOST = 128
"""Layers, of any model."""


def read_blocks(written: str, option: str = "--blocks") -> tuple[int, ...]:
    """Numbers of layers, from 0, in their order.

    Args:
        written: numbers and ranges with commas between, such as `3-5` or `1,3,5`.
        option: where it was written.

    Raises:
        UserError: it is something else.
    """
    found: set[int] = set()
    for part in written.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip())
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if first > last or last >= _MOST:
            raise UserError(f"{option} {written}: give numbers of layers, from 0, such as 3-5 or 1,3,5")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def require_layers(blocks: Sequence[int], layers: int, where: str) -> None:
    """Refuse layers that a model does not have.

    Raises:
        UserError: names the first of them.
    """
    for layer in blocks:
        if not 0 <= layer < layers:
            raise UserError(f"{where} {layer}: the model's layers are 0 to {layers - 1}")


def trains(blocks: Sequence[int], stage: str) -> bool:
    """Whether parameters of a stage are trained, where these layers are; all are where none is named."""
    if not blocks or stage == "classifier":
        return True
    _, number, *_ = (*stage.split("."), "", "")
    return number.isdecimal() and int(number) in blocks


def trained_alone(blocks: Sequence[int]) -> str:
    """Which layers were trained, as a sentence; nothing where all were."""
    if not blocks:
        return ""
    return f"Trained: layer{'s' * (len(blocks) > 1)} {', '.join(map(str, blocks))} and what answers, nothing else."


def dropping_tokens(model: Model, layers: Sequence[int], keep: float) -> Model:
    """A model whose layers of these numbers leave patches out by their attention; this share of them stays.

    Raises:
        UserError: it does not have such layers, or reads texts.
    """
    if not layers:
        return model
    a = model.architecture
    require_layers(layers, a.layers, "--drop-tokens")
    sizes = tuple(a.size_of(n).model_copy(update={"keep": keep} if n in layers else {}) for n in range(a.layers))
    try:
        return convert_functions(model, sizes=sizes)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, sizes: ")
        raise UserError(f"--drop-tokens: {said}") from None
