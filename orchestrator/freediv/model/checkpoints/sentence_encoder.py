"""How a sentence encoder makes one vector of a text's rows, as sentence-transformers writes it beside a model.

`modules.json` lists what follows each other: a Transformer, a Pooling, whose configuration lies in a folder of its own,
and a Normalize, if there is one. Reimers and Gurevych 2019 compare the poolings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import UserError
from ..file_content import read_beside

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
LENGTH = "sentence_bert_config.json"
FILES = (MODULES, SETTINGS, LENGTH, "1_Pooling/config.json")
"""All that are read."""
_MODE = "pooling_mode"
_POOLINGS: Mapping[str, Literal["first", "mean"]] = {
    "cls": "first",
    "cls_token": "first",
    "mean": "mean",
    "mean_tokens": "mean",
}
"""sentence-transformers' names of poolings -> ours."""
_ORDERS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


@dataclass(frozen=True)
class SentenceEncoder:
    """The pooling, and whether vectors are divided by their lengths: fields of `Architecture`; and how many pieces it
    reads, where that is less than its encoder could.
    """

    pooling: Literal["first", "mean"]
    normalised: bool
    longest: int | None = None

    def fields(self) -> dict[str, Any]:
        """As an architecture has them."""
        return {"pooling": self.pooling, "normalised": self.normalised}


PLAIN = SentenceEncoder("mean", normalised=False)
"""What is made of an encoder that does not say it: what sentence-transformers makes of one."""


def read_sentence_encoder(directory: Path) -> SentenceEncoder | None:
    """What a directory says of pooling; None where it says nothing.

    Raises:
        UserError: it does more, or something else, than is known here.
    """
    where = directory / MODULES
    if not where.is_file():
        return None
    modules = _read(where, list)
    if not all(isinstance(one, dict) and isinstance(one.get("type"), str) for one in modules):
        raise UserError(f"{where}: is no list of modules with their types")
    names = [one["type"].rpartition(".")[2] for one in modules]
    if names not in _ORDERS:
        raise UserError(
            f"{where}: the model is {', '.join(names) or 'nothing'}, one after another; freediv takes a Transformer, a "
            "Pooling and a Normalize"
        )
    if modules[0].get("path") not in ("", None):
        raise UserError(f"{where}: the encoder is in {modules[0]['path']!r}; put its files beside modules.json")
    _require_no_prompt(directory / SETTINGS)
    pooling = directory / str(modules[1].get("path") or "1_Pooling") / "config.json"
    return SentenceEncoder(_pooling(pooling), names[-1] == "Normalize", _longest(directory / LENGTH))


def _longest(where: Path) -> int | None:
    """Word pieces, after which sentence-transformers cuts a text."""
    if not where.is_file():
        return None
    settings = _read(where, dict)
    if settings.get("do_lower_case"):
        raise UserError(f"{where}: do_lower_case is set; take it out where the tokenizer does the same by itself")
    longest = settings.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or longest < 1):
        raise UserError(f"{where}: max_seq_length is {longest!r}; it is a number of word pieces")
    return longest


def _pooling(where: Path) -> Literal["first", "mean"]:
    found = _read(where, dict)
    if isinstance(named := found.get(_MODE), str):
        modes = [named]
    else:
        modes = [key.removeprefix(f"{_MODE}_") for key, on in found.items() if key.startswith(f"{_MODE}_") and on]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise UserError(
            f"{where}: pooling by {' and '.join(modes) or 'nothing'}; freediv takes the mean of all pieces, or the "
            f"first ({_MODE}_mean_tokens, {_MODE}_cls_token)"
        )
    return _POOLINGS[modes[0]]


def _require_no_prompt(where: Path) -> None:
    """Refuse an encoder that is given other texts than its users write."""
    if where.is_file() and (name := _read(where, dict).get("default_prompt_name")) is not None:
        raise UserError(
            f"{where}: default_prompt_name is {name!r}, which is put before each text; take it out of this file, and "
            "write prompts into the texts"
        )


def _read(path: Path, kind: type) -> Any:
    try:
        found = json.loads(read_beside(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, kind):
        raise UserError(f"{path}: is no JSON {'list' if kind is list else 'object'}")
    return found
