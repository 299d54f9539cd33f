"""The tokenizer of a model directory, as transformers reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ...errors import UserError
from ..families import FAMILIES
from ..pieces.kind import TokenizerKind, read_json
from ..pieces.tokenizer import encode_counted, parse_tokenizer
from ..pieces.wordpiece import NORMALIZER, SETTINGS

_FILE, _CONFIG, _MAP = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"


def has_tokenizer(directory: Path) -> bool:
    """Whether there is one of any kind."""
    files = (_FILE, "vocab.txt", "vocab.json", *(f"*{ending}" for ending in (".model", ".spm")))
    return any(True for name in files for _ in directory.glob(name))


def read_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a model directory, with neither padding nor truncation.

    Where tokenizer_config.json contradicts tokenizer.json, the former counts where transformers has it so. Without a
    tokenizer.json it is made of the files that its class came with before.

    Raises:
        UserError: there is none, or none of a known family, or its files contradict each other, or what a checkpoint
            takes for padding is a piece of texts.
    """
    directory = Path(directory)
    settings, config, more = (
        read_json(path) if (path := directory / name).is_file() else {} for name in (_CONFIG, "config.json", _MAP)
    )
    settings = more | settings
    named = settings.get("tokenizer_class") or config.get("tokenizer_class")
    kind = _kind(str(named or "").removesuffix("Fast"), str(config.get("model_type")))
    path = directory / _FILE
    if path.is_file():
        description = read_json(path)
        _require_added(description, settings, directory / _CONFIG)
        if kind is not None:
            description = kind.resolved(description, settings, directory / _CONFIG, bool(named))
    else:
        description = _made(directory, settings, kind)
    try:
        tokenizer = parse_tokenizer(json.dumps(description))
        _require_padding(config, tokenizer, description["model"], directory / "config.json")
        return tokenizer
    except ValueError as error:
        raise UserError(f"{path}: not a tokenizer.json that freediv reads: {error}") from None


def write_tokenizer(tokenizer: Tokenizer, directory: Path, source: Path) -> None:
    """Write a tokenizer.json that says all, and a tokenizer_config.json that agrees with it: that of the directory
    `source`, without what numbers pieces, which may have other numbers now.
    """
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    settings = read_json(source / _CONFIG) if (source / _CONFIG).is_file() else {}
    settings.pop("added_tokens_decoder", None)
    normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
    if normalizer.get("type") == NORMALIZER:
        settings |= {key: normalizer[own] for key, own in SETTINGS.items()}
    if settings:
        (directory / _CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _kind(name: str, model_type: str) -> TokenizerKind | None:
    """Of a class of transformers', or a family's usual one; None where tokenizer.json is taken as it is."""
    if not name:
        family = FAMILIES.get(model_type)
        return None if family is None else family.tokenizer
    kinds = (family.tokenizer for family in FAMILIES.values())
    return next((kind for kind in kinds if kind is not None and name in kind.classes), None)


def _made(directory: Path, settings: Mapping[str, Any], kind: TokenizerKind | None) -> dict[str, Any]:
    found = None if kind is None else kind.made(directory, settings)
    if found is None:
        instead = "" if kind is None else f", nor is {kind.sources}, of which {kind.classes[0]} is made"
        raise UserError(f"{directory / _FILE}: no such file{instead}; save the tokenizer with transformers")
    return found


def _require_added(description: Mapping[str, Any], settings: Mapping[str, Any], where: Path) -> None:
    """Refuse tokens that tokenizer_config.json adds and tokenizer.json has not."""
    added = settings.get("added_tokens_decoder") or {}
    there = description.get("added_tokens")
    known = [token.get("content") for token in there if isinstance(token, dict)] if isinstance(there, list) else []
    tokens = added.values() if isinstance(added, dict) else []
    names = [token.get("content") for token in tokens if isinstance(token, dict)]
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(
            f"{where}: added_tokens_decoder has {missing[0]!r}, which is not among the added_tokens of tokenizer.json; "
            "save the tokenizer again with transformers"
        )


def _require_padding(config: Mapping[str, Any], tokenizer: Tokenizer, model: Mapping[str, Any], where: Path) -> None:
    """Refuse a checkpoint whose padding is a piece of texts, where positions are counted from what is no padding.

    RoBERTa gives that piece the position of padding wherever it stands, and does not count it; here places are counted.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None or "freediv" in config:  # students count places
        return
    pad = family.in_common_words(config).get("pad_token_id")
    number = family.first_position(pad if isinstance(pad, int) else 0) - 1
    piece = tokenizer.id_to_token(number) if 0 <= number < 1 << 32 else None
    if piece is None:
        return
    unknown = model.get("unk_id") == number or model.get("unk_token") == piece
    added = tokenizer.get_added_tokens_decoder().get(number)
    [around] = encode_counted(tokenizer, [""])
    if unknown or added is None or not added.special or number in around.ids:
        raise UserError(
            f"{where}: pieces of number {number} are padding to a {family.name}, and the tokenizer's {piece!r}, which "
            "texts have, is that number; save the tokenizer that the model was trained with beside it"
        )
