"""The reader of a model: of its directory, or of what its parties hand out."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import UserError
from ..architecture import Architecture
from ..families import FAMILIES
from ..pieces.kind import read_json
from ..pieces.tokenizer import parse_tokenizer
from .images import ImageReader
from .processor import FILE, parse_processor
from .reader import Reader
from .texts import TextReader
from .tokenizer_directory import has_tokenizer, read_tokenizer

_MOST_CHARACTERS = 1 << 16


def read_reader(directory: Path) -> Reader:
    """That of a model's directory, as its family has it.

    Raises:
        UserError: there is none, or none that freediv reads.
    """
    directory = Path(directory)
    if not reads_images(directory):
        return TextReader(read_tokenizer(directory))
    path = directory / FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file, which says how images are made ready; save it with transformers")
    try:
        return ImageReader(parse_processor(read_json(path), read_json(directory / "config.json")["model_type"]))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def reads_images(directory: Path) -> bool:
    """Whether a model's directory is of a family that does."""
    config = read_json(directory / "config.json") if (directory / "config.json").is_file() else {}
    family = FAMILIES.get(str(config.get("model_type")))
    return family is not None and family.reads_images


def has_reader(directory: Path) -> bool:
    """Whether there is one of any kind."""
    return has_tokenizer(directory) or (directory / FILE).is_file()


def parse_reader(architecture: Architecture, content: str) -> Reader:
    """That of a model's public bundle.

    Raises:
        ValueError: it is none, or not one of such a model; says in one line where and why.
    """
    if architecture.patches is None:
        return TextReader(parse_tokenizer(content))
    try:
        found = json.loads(content) if len(content) < _MOST_CHARACTERS else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError("is no image processor's configuration")
    processor = parse_processor(found, architecture.family)
    processor.require_fitting(architecture.patches)
    return ImageReader(processor)
