"""What `torch.save` wrote, read without PyTorch, and without running anything that is in it.

A file is a pickle that names its tensors' storages, and these: as a zip archive, or, as PyTorch had it before 1.6, one
after another. A pickle is a program: what it may call is what tensors and their names are made of, in stand-ins of our
own that only note their arguments, and every other name is refused. Whatever it says, no more memory is taken than the
file has bytes, twice over.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError, one_line

_MOST_PICKLE, _MOST_DIMENSIONS = 1 << 24, 8
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What files from before PyTorch 1.6 begin with."""
_BFLOAT16 = "bfloat16"
_TYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip


def as_float32(values: np.ndarray) -> np.ndarray:
    """Numbers of bfloat16, given as their 16 bits: the upper half of a float32's."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file by their names.

    Raises:
        UserError: it holds something else, asks for something that no tensor needs, or is not whole.
    """
    try:
        with path.open("rb") as file:
            return _read_zip(path) if zipfile.is_zipfile(file) else _read_legacy(path)
    except _Refused as error:
        raise UserError(f"{path}: {error}; freediv reads tensors alone, and runs nothing that is in a file") from None
    except UserError:
        raise
    except Exception as error:  # a program of another's may fail in any way
        foreign = isinstance(error, KeyError | EOFError)  # an instruction or a part that is not there
        reason = "it is another format" if foreign else one_line(str(error) or type(error).__name__, 200)
        raise UserError(f"{path}: cannot be read as what torch.save writes ({reason}); fetch it again") from None


class _Refused(Exception):  # noqa: N818
    """What a pickle has no business to ask for."""


class _Noted:
    """What a pickle gets in place of what it names; it changes none of it."""

    def __setstate__(self, state: object) -> None:
        raise _Refused("changes what it did not make")


@dataclass(frozen=True)
class _Kind(_Noted):
    """Stands for a class of storages."""

    type: str


@dataclass(frozen=True)
class _Storage(_Noted):
    """A storage that a pickle refers to: numbers side by side."""

    type: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor(_Noted):
    """A tensor that a pickle describes: a part of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, values: np.ndarray) -> np.ndarray:
        """It, in its storage's numbers; no more of them than these are."""
        numbers = (self.offset, *self.shape, *self.strides)
        whole = all(type(number) is int and number >= 0 for number in numbers)
        if not whole or len(self.shape) != len(self.strides) or len(self.shape) > _MOST_DIMENSIONS:
            raise ValueError("a tensor has a shape that none has")
        if math.prod(self.shape) > len(values):
            raise ValueError("a tensor has more numbers than its storage")
        strides = tuple(stride * values.itemsize for stride in self.strides)
        return np.ndarray(self.shape, values.dtype, values, self.offset * values.itemsize, strides)


class _Names(dict[str, Any]):
    """Stands for an OrderedDict; what else a pickle notes of it, as versions of its modules, is left out."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        return


@dataclass(frozen=True)
class _Call(_Noted):
    """Stands for a function: what it would make, noted."""

    function: Callable[..., object]

    def __call__(self, *arguments: Any) -> object:
        return self.function(*arguments)


def _names(*arguments: object) -> _Names:
    if arguments:
        raise _Refused("fills an OrderedDict in another way than torch.save does")
    return _Names()


def _tensor(storage: object, offset: Any, shape: Any, strides: Any, *others: object) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor has no storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_KNOWN: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): _Call(_names),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(lambda data, *others: data),
    **{("torch", name): _Kind(kind) for name, kind in _TYPES.items()},
}


_Base: Any = pickle._Unpickler  # in Python: the other one takes memory for any number
_STEPS = b"".join(
    (
        pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE,
        pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINUNICODE, pickle.SHORT_BINUNICODE,
        pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.EMPTY_LIST,
        pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS, pickle.BUILD,
        pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE, pickle.BINPERSID, pickle.FRAME, pickle.MEMOIZE,
        pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET,
    )
)  # fmt: skip
"""The instructions that torch.save uses."""


class _Unpickler(_Base):  # type: ignore[misc]
    dispatch: Mapping[int, Callable[[Any], None]] = {step: _Base.dispatch[step] for step in _STEPS} | {
        pickle.SETITEM[0]: lambda self: self.set_items(self.stack[-2:], _Base.load_setitem),
        pickle.SETITEMS[0]: lambda self: self.set_items(self.stack, _Base.load_setitems),
    }

    def set_items(self, items: Sequence[object], step: Callable[[Any], None]) -> None:
        """Names alone are keys: what is made of the same thing twice, over and over, has no hash in any time."""
        if not all(isinstance(name, str) for name in items[::2]):
            raise ValueError("a key is no name")
        step(self)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"asks for {one_line(module, 60)}.{one_line(name, 60)}, which no tensor is made of")
        return _KNOWN[module, name]

    def persistent_load(self, reference: Any) -> _Storage:
        what, kind, key, _, count, *others = reference
        known = isinstance(what, str) and what == "storage" and isinstance(kind, _Kind) and isinstance(key, str)
        if not known or type(count) is not int or any(others):
            raise ValueError("refers to something that is no storage")
        return _Storage(kind.type, key, count)


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        [table] = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        folder, left = table.removesuffix("data.pkl"), path.stat().st_size

        def content(name: str, most: int) -> bytes:
            about = archive.getinfo(name)
            if about.compress_type != zipfile.ZIP_STORED or about.file_size > most:
                raise ValueError(f"{one_line(name, 60)} is larger than torch.save writes it")
            return archive.read(about)

        if f"{folder}byteorder" in archive.namelist() and content(f"{folder}byteorder", 16) != b"little":
            raise ValueError("its numbers are big-endian")
        named = _named(_Unpickler(io.BytesIO(content(table, _MOST_PICKLE))).load())
        storages: dict[str, np.ndarray] = {}
        for storage in {tensor.storage.key: tensor.storage for tensor in named.values()}.values():
            data = content(f"{folder}data/{storage.key}", left)
            left -= len(data)
            storages[storage.key] = _numbers(storage, data)
    return _placed(named, storages)


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with _Bytes(path) as file:
        if (_Unpickler(file).load(), _Unpickler(file).load()) != (_MAGIC, _PROTOCOL):
            raise ValueError("it is of an older version than PyTorch 0.1.10, or no such file")
        _Unpickler(file).load()  # of the machine that it is from
        named = _named(_Unpickler(file).load())
        known = {tensor.storage.key: tensor.storage for tensor in named.values()}
        storages = {key: _next(file, known[key]) for key in _Unpickler(file).load()}
    return _placed(named, storages)


def _next(file: _Bytes, storage: _Storage) -> np.ndarray:
    (count,) = struct.unpack("<Q", file.read(8))
    return _numbers(storage, file.read(count * (2 if storage.type == _BFLOAT16 else np.dtype(storage.type).itemsize)))


class _Bytes:
    """A file that has no memory taken for bytes which it does not have."""

    def __init__(self, path: Path) -> None:
        self._file, self._left = path.open("rb"), path.stat().st_size

    def __enter__(self) -> _Bytes:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, count: int) -> bytes:
        """So many bytes, or those that are left."""
        found = self._file.read(max(0, min(count, self._left)))
        self._left -= len(found)
        return found

    def readline(self) -> bytes:
        """A line, which names a module or what is in it."""
        found = self._file.readline(min(1024, self._left))
        self._left -= len(found)
        return found


def _numbers(storage: _Storage, data: bytes) -> np.ndarray:
    values = np.frombuffer(data, "<u2" if storage.type == _BFLOAT16 else storage.type)
    if len(values) != storage.count:
        raise ValueError(f"a storage has {len(values)} numbers, and is described as one of {storage.count}")
    return as_float32(values) if storage.type == _BFLOAT16 else values


def _named(found: object) -> dict[str, _Tensor]:
    if not isinstance(found, dict) or not found:
        raise ValueError("it holds no tensors by their names")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(f"{one_line(str(name), 60)} is no tensor")
    return dict(found)


def _placed(named: Mapping[str, _Tensor], storages: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: tensor.of(storages[tensor.storage.key]) for name, tensor in named.items()}
