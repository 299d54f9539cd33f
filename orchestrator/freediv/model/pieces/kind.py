"""What a family's tokenizer is like: its classes' names, how transformers reads its files, how it joins pairs.

A directory holds tokenizer.json, which says nearly all, or what tokenizers came with before that: a kind of tokenizer
makes the same of either.
"""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ...errors import UserError
from ..file_content import read_beside

Description = dict[str, Any]
"""The content of a tokenizer.json."""
Settings = Mapping[str, Any]
"""The content of tokenizer_config.json, and of special_tokens_map.json where it does not say."""

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
"""Of an added piece."""
BERTS = {name: f"[{name.removesuffix('_token').upper()}]" for name in
         ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")}  # fmt: skip
"""BERT's special pieces."""
ROBERTAS = {"unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"}
"""RoBERTa's."""


@dataclass(frozen=True, kw_only=True)
class TokenizerKind(ABC):
    """One kind of tokenizer.

    Attributes:
        classes: what transformers calls it, without `Fast`.
        special: its special pieces, where tokenizer_config.json does not say.
        between: how many separators stand between the texts of a pair.
        segments: whether the second of a pair has a token type of its own.
        mask_takes_space: whether a space before the piece for masked words is a part of it.
    """

    classes: tuple[str, ...]
    special: Mapping[str, str] = field(default_factory=lambda: BERTS)
    between: int = 1
    segments: bool = True
    mask_takes_space: bool = False

    sources: ClassVar[str]
    """The files that it is made of, for people."""

    def resolved(self, description: Description, settings: Settings, where: Path, named: bool) -> Description:
        """A tokenizer.json that says what transformers makes of it and of tokenizer_config.json.

        Args:
            description: the content of tokenizer.json.
            settings: those of tokenizer_config.json.
            where: that file.
            named: whether a class is named there, or this kind is only the family's usual one.

        Raises:
            UserError: the two contradict each other.
        """
        return description

    @abstractmethod
    def made(self, directory: Path, settings: Settings) -> Description | None:
        """A tokenizer.json from the files of a directory; None where they are not there.

        Raises:
            UserError: one of them cannot be read.
        """

    def described(
        self,
        directory: Path,
        settings: Settings,
        vocabulary: Mapping[str, int],
        added: Mapping[str, Description],
        **steps: Any,
    ) -> Description:
        """A tokenizer.json of these steps.

        Args:
            directory: where its files are.
            settings: those of tokenizer_config.json.
            vocabulary: numbers of its pieces.
            added: pieces that texts are cut at, as tokenizer.json describes them, where they are no special ones.
            steps: normalizer, pre-tokenizer and model.

        Raises:
            UserError: a piece that it cannot do without is missing, or an added one has another number than it gets.
        """
        numbers, special = dict(vocabulary), self.special_pieces(settings)
        for name in ("unk_token", "cls_token", "sep_token"):
            if special[name] not in numbers:
                raise UserError(f"{directory}: the tokenizer's {name}, {special[name]!r}, is not in its vocabulary")
        space = {"lstrip": True} if self.mask_takes_space else {}
        usual = {piece: {"special": True} for piece in special.values()}
        usual[special["mask_token"]] |= space
        told = _added(directory, settings)
        tokens: dict[str, Description] = {}
        for piece, own in (*told.items(), *usual.items(), *added.items()):
            number = numbers.setdefault(piece, len(numbers))
            if own.get("id", number) != number:
                raise UserError(f"{directory}: the added piece {piece!r} is number {own['id']}, and would be {number}")
            tokens.setdefault(
                piece, dict.fromkeys(_FLAGS, False) | usual.get(piece, {}) | own | {"id": number, "content": piece}
            )
        listed = sorted(tokens.values(), key=lambda token: token["id"])
        template = self.template(special["cls_token"], special["sep_token"], numbers)
        return {"version": "1.0", "added_tokens": listed, "post_processor": template, **steps}

    def template(self, first: str, last: str, numbers: Mapping[str, int]) -> Description:
        """How special pieces stand around texts."""
        second = int(self.segments)

        def piece(content: str, type_id: int = 0) -> Description:
            return {"SpecialToken": {"id": content, "type_id": type_id}}

        def text(name: str, type_id: int = 0) -> Description:
            return {"Sequence": {"id": name, "type_id": type_id}}

        single = [piece(first), text("A"), piece(last)]
        between = [piece(last)] * (self.between - 1)
        return {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, *between, text("B", second), piece(last, second)],
            "special_tokens": {one: {"id": one, "ids": [numbers[one]], "tokens": [one]} for one in (first, last)},
        }

    def special_pieces(self, settings: Settings) -> dict[str, str]:
        """Its special pieces, by what transformers calls them."""
        given = {name: settings.get(name) or usual for name, usual in self.special.items()}
        return {name: _content(one) or self.special[name] for name, one in given.items()}


def flag(settings: Settings, name: str, usual: bool) -> bool:
    """A setting of tokenizer_config.json that is true or false.

    Raises:
        UserError: it is neither.
    """
    found = settings.get(name, usual)
    if not isinstance(found, bool):
        raise UserError(f"tokenizer_config.json: {name} is {found!r}; it is true or false")
    return found


def _content(piece: object) -> str:
    found = piece.get("content") if isinstance(piece, dict) else piece
    return found if isinstance(found, str) else ""


def _added(directory: Path, settings: Settings) -> dict[str, Description]:
    """The pieces that a directory adds to its vocabulary, with their numbers, smallest first."""
    told = settings.get("added_tokens_decoder")
    path = directory / "added_tokens.json"
    found: dict[str, Description] = {}
    try:
        if isinstance(told, dict) and told:
            for number, piece in told.items():
                found[_content(piece)] = {flag: piece[flag] for flag in _FLAGS if flag in piece} | {"id": int(number)}
        elif path.is_file():
            found = {piece: {"id": int(number)} for piece, number in read_json(path).items()}
    except (TypeError, ValueError):
        raise UserError(f"{directory}: an added piece of the tokenizer has no number") from None
    return dict(sorted(found.items(), key=lambda one: one[1]["id"]))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        UserError: it is none.
    """
    try:
        found = json.loads(read_beside(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a text, as Python has them.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return [line.removesuffix("\n") for line in io.StringIO(read_beside(path), newline=None)]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
