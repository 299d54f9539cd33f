"""WordPiece with BERT's normalizer: vocab.txt, a piece a line (Devlin et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from .kind import Description, Settings, TokenizerKind, read_lines

NORMALIZER = "BertNormalizer"
SETTINGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""What tokenizer_config.json and a normalizer in tokenizer.json call the same."""

_USUAL = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
"""Where tokenizer_config.json does not say; None: as lower case is."""


@dataclass(frozen=True, kw_only=True)
class WordPiece(TokenizerKind):
    """Where tokenizer_config.json contradicts tokenizer.json on lower case, accents and Chinese characters, the former
    counts, as transformers has it (their defaults, too, where it says nothing).
    """

    sources = "vocab.txt"

    def resolved(self, description: Description, settings: Settings, where: Path, named: bool) -> Description:
        normalizer = description.get("normalizer")
        if not isinstance(normalizer, dict) or normalizer.get("type") != NORMALIZER:
            if named or _USUAL.keys() & settings.keys():  # which versions of transformers read differently
                found = normalizer.get("type") if isinstance(normalizer, dict) else normalizer
                raise UserError(
                    f"{where}: tokenizer_class {self.classes[0]} normalizes as BERT does, and tokenizer.json by "
                    f"{found}; for tokenizer.json as it is, say there that the tokenizer_class is "
                    "PreTrainedTokenizerFast"
                )
            return description
        return description | {"normalizer": normalizer | _wanted(settings, where)}

    def made(self, directory: Path, settings: Settings) -> Description | None:
        path = directory / "vocab.txt"
        if not path.is_file():
            return None
        vocabulary = {piece: number for number, piece in enumerate(read_lines(path))}
        model = {
            "type": "WordPiece",
            "unk_token": self.special_pieces(settings)["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        }
        normalizer = {"type": NORMALIZER, "clean_text": True, **_wanted(settings, path)}
        splitter = {"type": "BertPreTokenizer"}
        return self.described(
            directory, settings, vocabulary, {}, normalizer=normalizer, pre_tokenizer=splitter, model=model
        )


def _wanted(settings: Settings, where: Path) -> dict[str, Any]:
    wanted = {key: settings.get(key, usual) for key, usual in _USUAL.items()}
    for key, value in wanted.items():
        if not isinstance(value, bool) and not (value is None and key == "strip_accents"):
            raise UserError(f"{where}: {key} is {value!r}; it is true or false")
    return {SETTINGS[key]: value for key, value in wanted.items()}
