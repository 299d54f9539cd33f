"""Word pieces: reading a tokenizer, and cutting its vocabulary down to a task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ..errors import UserError
from ..transformer import Text


def read_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a model directory, with neither padding nor truncation."""
    path = Path(directory) / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; the model directory must hold a fast tokenizer (tokenizer.json)")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise UserError(f"{path} is not a tokenizer.json: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[Text], longest: int) -> list[np.ndarray]:
    """Token ids of each text or pair with its special tokens, int32 [pieces], cut at `longest`; the longer of a pair
    gives way first.
    """
    tokenizer.enable_truncation(longest)
    encoded = tokenizer.encode_batch_fast(list(texts))
    tokenizer.no_truncation()
    return [np.array(encoding.ids, np.int32) for encoding in encoded]


@dataclass(frozen=True)
class VocabularyCut:
    """A smaller tokenizer, and `kept` [new size]: the old id of each new id, in rising order."""

    tokenizer: Tokenizer
    kept: np.ndarray


def cut_vocabulary(tokenizer: Tokenizer, sequences: Sequence[np.ndarray], size: int) -> VocabularyCut:
    """Keep special tokens, all single characters, and then the pieces that `sequences` use most, `size` in all.

    Any text still tokenises: a word whose piece went is split into shorter ones, at worst into characters.

    Raises:
        UserError: not a WordPiece tokenizer, or special tokens and characters alone are more than `size`.
    """
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    model = description["model"]
    if model["type"] != "WordPiece":
        kind = model["type"]
        raise UserError(f"embedding.vocabulary: the tokenizer is {kind}, and only WordPiece is cut; leave it out")
    vocabulary: dict[str, int] = model["vocab"]
    if size >= len(vocabulary):
        return VocabularyCut(tokenizer, np.arange(len(vocabulary)))
    kept = _indispensable(description)
    if len(kept) > size:
        raise UserError(
            f"embedding.vocabulary: {size} is too small, special tokens and single characters alone are {len(kept)}"
        )
    used = Counter(dict(zip(*np.unique(np.concatenate(list(sequences)), return_counts=True), strict=True)))
    # The most used first; pieces that are not used at all follow in the vocabulary's own order.
    candidates = sorted(set(vocabulary.values()) - kept, key=lambda token: (-used[token], token))
    kept_ids = np.array(sorted(kept | set(candidates[: size - len(kept)])))
    new_id = {int(old): new for new, old in enumerate(kept_ids)}
    model["vocab"] = {piece: new_id[old] for piece, old in vocabulary.items() if old in new_id}
    for token in description["added_tokens"]:
        token["id"] = new_id[token["id"]]
    processor = description.get("post_processor") or {}
    for special in (processor.get("special_tokens") or {}).values():
        special["ids"] = [new_id[old] for old in special["ids"]]
    for end in ("sep", "cls"):  # the post-processor of BERT's older tokenizer files
        if end in processor:
            processor[end] = [processor[end][0], new_id[processor[end][1]]]
    return VocabularyCut(Tokenizer.from_str(json.dumps(description)), kept_ids)


def _indispensable(description: dict[str, Any]) -> set[int]:
    """Ids of special tokens and of pieces of one character."""
    model = description["model"]
    vocabulary: dict[str, int] = model["vocab"]
    prefix = model["continuing_subword_prefix"]
    characters = {token for piece, token in vocabulary.items() if len(piece.removeprefix(prefix)) == 1}
    special = {token["id"] for token in description["added_tokens"]}
    named = {vocabulary[piece] for piece in (model["unk_token"], "[PAD]") if piece in vocabulary}
    return characters | special | named
