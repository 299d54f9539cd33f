"""Byte-level BPE: vocab.json and merges.txt (Radford et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from .kind import Description, Settings, TokenizerKind, flag, read_json, read_lines


@dataclass(frozen=True, kw_only=True)
class ByteLevel(TokenizerKind):
    """Where tokenizer_config.json contradicts tokenizer.json on a space before the first word, the former counts, as
    transformers has it (no space, where it says nothing).
    """

    sources = "vocab.json with merges.txt"

    def resolved(self, description: Description, settings: Settings, where: Path, named: bool) -> Description:
        splitter = description.get("pre_tokenizer")
        if not isinstance(splitter, dict) or splitter.get("type") != "ByteLevel":
            return description
        return description | {"pre_tokenizer": splitter | _space(settings)}

    def made(self, directory: Path, settings: Settings) -> Description | None:
        vocabulary, merges = directory / "vocab.json", directory / "merges.txt"
        if not (vocabulary.is_file() and merges.is_file()):
            return None
        numbers = read_json(vocabulary)
        if not all(isinstance(number, int) for number in numbers.values()):
            raise UserError(f"{vocabulary}: a piece has no number")
        lines = [line for line in read_lines(merges) if line and not line.startswith("#version")]
        model = {"type": "BPE", "vocab": numbers, "merges": lines}
        splitter = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True, **_space(settings)}
        return self.described(directory, settings, numbers, {}, pre_tokenizer=splitter, model=model)


def _space(settings: Settings) -> dict[str, Any]:
    return {"add_prefix_space": flag(settings, "add_prefix_space", False)}
