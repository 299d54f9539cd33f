"""A quantised model on disk: its weights in floating point, in a directory of their own, beside how they are rounded.

No other command takes it: what reads models refuses it by name.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...model import Model, read_model, write_model
from ...model.checkpoints.checkpoint import QUANTISED
from . import METHODS
from .encoder import require_known, slots
from .quantising import Quantised, Setting

_WEIGHTS = "weights"


def write_quantised(found: Quantised, directory: Path) -> None:
    """Fill a directory."""
    setting = found.setting
    ranges = {name: value.tolist() for name, value in setting.ranges.items()}
    kept = {"bits": setting.bits, "method": setting.method, "methods": dict(setting.methods), "ranges": ranges}
    write_model(found.model, directory / _WEIGHTS)
    (directory / QUANTISED).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def is_quantised(directory: Path) -> bool:
    """Whether a directory holds one."""
    return (directory / QUANTISED).is_file()


def read_quantised(directory: Path) -> tuple[Model, Setting]:
    """The weights, and how they are rounded.

    Raises:
        UserError: it is damaged, or the weights are of another model.
    """
    model = read_model(directory / _WEIGHTS)
    require_known(model.architecture, directory)
    try:
        kept = json.loads((directory / QUANTISED).read_text(encoding="utf-8"))
        ranges = {name: np.array(value) for name, value in kept["ranges"].items()}
        setting = Setting(int(kept["bits"]), str(kept["method"]), kept["methods"], ranges)
        whole = set(setting.methods) == {slot for slot, _ in slots(model.architecture)}
        if not whole or not set(setting.methods.values()) <= METHODS.keys():
            raise ValueError("its slots are others")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{directory / QUANTISED}: damaged, or of another model; quantise the model again") from None
    return model, setting
