"""Cutting a tokenizer's vocabulary down to a task."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ...errors import UserError


@dataclass(frozen=True)
class VocabularyCut:
    """A smaller tokenizer, and `kept` [new size]: the old id of each new id, in rising order."""

    tokenizer: Tokenizer
    kept: np.ndarray


def cut_vocabulary(tokenizer: Tokenizer, sequences: Sequence[np.ndarray], size: int, rows: int) -> VocabularyCut:
    """Keep special tokens, all single characters, and then the pieces that `sequences` use most, `size` in all.

    The word table has `rows`, which may be more than there are pieces, and stays whole where `size` is no less. Any
    text still tokenises: a word whose piece went is split into shorter ones, at worst into characters.

    Raises:
        UserError: not a WordPiece tokenizer, one whose pieces the table has no rows for, or special tokens and
            characters alone are more than `size`.
    """
    if size >= rows:
        return VocabularyCut(tokenizer, np.arange(rows))
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    model = description["model"]
    if model["type"] != "WordPiece":
        kind = model["type"]
        raise UserError(f"embedding.vocabulary: the tokenizer is {kind}, and only WordPiece is cut; leave it out")
    vocabulary: dict[str, int] = model["vocab"]
    pieces = {token["content"]: token["id"] for token in description["added_tokens"]} | vocabulary
    beyond = [piece for piece, token in pieces.items() if token >= rows]
    if beyond:
        raise UserError(
            f"embedding.vocabulary: the word piece {beyond[0]!r} is number {pieces[beyond[0]]}, and the teacher's word "
            f"table has {rows} rows; take it out of tokenizer.json"
        )
    kept = _indispensable(description)
    if len(kept) > size:
        raise UserError(
            f"embedding.vocabulary: {size} is too small, special tokens and single characters alone are {len(kept)}"
        )
    used = Counter(dict(zip(*np.unique(np.concatenate(list(sequences)), return_counts=True), strict=True)))
    # The most used first; pieces that are not used at all follow in the vocabulary's own order.
    candidates = sorted(set(pieces.values()) - kept, key=lambda token: (-used[token], token))
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
