"""A model's weights on disk: safetensors or what `torch.save` wrote, in one file or several with an index."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import load_file

from ...errors import UserError
from ..file_content import read_beside, require_content
from .torch_file import as_float32, read_torch_file

_SAFETENSORS, _TORCH = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
_MOST_PARTS = 1000
_BFLOAT16 = "BF16"
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read_weights(directory: Path, most_bytes: int) -> tuple[Path, dict[str, np.ndarray]]:
    """The file that a model's weights are in, or the index of several, and its tensors by their names there.

    Args:
        directory: the model's.
        most_bytes: that its weights may have.

    Raises:
        UserError: they are not there, or cannot be read, or are more.
    """
    where, paths = _found(directory)
    read = read_torch_file if where.name.startswith(_TORCH) else _read_safetensors
    return where, _read(paths, most_bytes, read)


def weights_files(directory: Path) -> list[Path]:
    """The files that a model's weights are in.

    Raises:
        UserError: they are not there.
    """
    return _found(directory)[1]


def _found(directory: Path) -> tuple[Path, list[Path]]:
    for name in (_SAFETENSORS, _TORCH):
        if (path := directory / name).is_file():
            require_content(path)
            return path, [path]
        if (index := directory / (name + _INDEX)).is_file():
            return index, _parts(index, Path(name).suffix)
    others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.h5", "*.msgpack") for path in directory.glob(pattern))
    found = f"; {others[0]} is another format: save the model again with transformers" if others else ""
    raise UserError(f"{directory / _SAFETENSORS}: not there, nor is {_TORCH}{found}")


def _parts(index: Path, ending: str) -> list[Path]:
    """The files that an index names, in the folder where it is."""
    try:
        found = json.loads(read_beside(index))
        names = sorted(set(found["weight_map"].values()))
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{index}: has no weight_map of names, as an index of weights has; fetch it again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{index}: cannot be read as an index of weights ({error}); fetch it again") from None
    if not names or len(names) > _MOST_PARTS:
        raise UserError(f"{index}: names {len(names)} files; an index names 1 to {_MOST_PARTS}")
    for name in names:
        if name != Path(name).name or "\\" in name or not name.endswith(ending):
            raise UserError(f"{index}: names {name!r}; the parts of a model are files beside their index, {ending}")
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise UserError(
            f"{index.parent / missing[0]}: not there, and {index.name} names it; fetch all parts of the model"
        )
    return [index.parent / name for name in names]


def _read(
    paths: list[Path], most_bytes: int, read: Callable[[Path], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    size = sum(path.stat().st_size for path in paths)
    if size > most_bytes:
        raise UserError(
            f"{paths[0]}: has {size:,} bytes{' with its other parts' * (len(paths) > 1)}, far more than the numbers "
            "that config.json describes; it is another model's"
        )
    found: dict[str, np.ndarray] = {}
    for path in paths:
        require_content(path)
        own = read(path)
        if twice := found.keys() & own.keys():
            raise UserError(f"{path}: holds {min(twice)}, as another part does")
        found |= own
    return found


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        found = load_file(path)
        return {
            name: as_float32(value.view(np.uint16)) if value.dtype.name == "bfloat16" else value
            for name, value in found.items()
        }
    except (KeyError, TypeError):  # a number type that numpy lacks, where nothing has taught it
        pass
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}); is it whole? fetch it again") from None
    try:
        return dict(_with_bfloat16(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}); is it whole? fetch it again") from None


def _with_bfloat16(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    for name, tensor in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
        kind = tensor["dtype"]
        if kind not in _TYPES:
            raise UserError(f"{path}: {name} holds numbers of type {kind}; save it as float32, bfloat16 or float16")
        values = np.frombuffer(tensor["data"], _TYPES[kind]).reshape(tensor["shape"])
        yield name, as_float32(values) if kind == _BFLOAT16 else values
