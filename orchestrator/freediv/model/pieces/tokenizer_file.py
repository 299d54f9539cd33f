"""What a tokenizer.json may hold: the steps of known families, as the library `tokenizers` writes them."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from .charsmap import most_characters, replacements_of

_REPLACED = {
    ("String", "``", '"'),
    ("String", "''", '"'),
    ("String", " ", "▁"),
    ("Regex", " {2,}", " "),
    ("Regex", " {2,}", "▁"),
    ("Regex", r"\s+", " "),
}
"""What SentencePiece's converters (ALBERT, XLM-R, DeBERTa) and CLIP's replace: (kind of pattern, pattern, content)."""

Id: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 20)]
Piece: TypeAlias = Annotated[str, Field(max_length=1024)]
Flag: TypeAlias = bool | None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Plain(_Part):
    type: Literal["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"]


class _BertNormalizer(_Part):
    type: Literal["BertNormalizer"]
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: Flag = None
    lowercase: bool = True


class _Strip(_Part):
    type: Literal["Strip"]
    strip_left: bool = True
    strip_right: bool = True


class _Pattern(_Part):
    String: str | None = None
    Regex: str | None = None


class _Replace(_Part):
    type: Literal["Replace"]
    pattern: _Pattern
    content: str

    @model_validator(mode="after")
    def _known(self) -> _Replace:
        [(kind, pattern)] = self.pattern.model_dump(exclude_none=True).items() or [("", "")]
        if (kind, pattern, self.content) not in _REPLACED:
            raise ValueError("replaces what no known family does")
        return self


class _Prepend(_Part):
    type: Literal["Prepend"]
    prepend: Literal["▁"]


class _Precompiled(_Part):
    type: Literal["Precompiled"]
    precompiled_charsmap: str = Field(max_length=1 << 21)

    @model_validator(mode="after")
    def _lengthens_and_joins_nothing(self) -> _Precompiled:
        for key, replacement in replacements_of(base64.b64decode(self.precompiled_charsmap, validate=True)):
            if len(replacement) > sum(map(most_characters, key.decode(errors="replace"))):
                raise ValueError("makes a text longer than Unicode's decompositions do")
            # SentencePiece's own tables make spaces of marks.
            gaps = (" ",) if b" " in key else (" ", "▁")
            if (b" " in key or "▁".encode() in key) and not any(gap in replacement for gap in gaps):
                raise ValueError("drops spaces between words")
        return self


_Normalizer = _Plain | _BertNormalizer | _Strip | _Replace | _Prepend | _Precompiled


class _Normalizers(_Part):
    type: Literal["Sequence"]
    normalizers: list[Annotated[_Normalizer, Field(discriminator="type")]] = Field(max_length=16)


class _Splitter(_Part):
    type: Literal["BertPreTokenizer", "Whitespace", "WhitespaceSplit"]


class _ByteLevel(_Part):
    type: Literal["ByteLevel"]
    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True


class _Metaspace(_Part):
    type: Literal["Metaspace"]
    replacement: Literal["▁"] = "▁"
    prepend_scheme: Literal["always", "first", "never"] | None = None
    split: Flag = None
    add_prefix_space: Flag = None
    str_rep: Literal["▁"] | None = None


class _PreTokenizers(_Part):
    type: Literal["Sequence"]
    pretokenizers: tuple[_Splitter, _Metaspace] | tuple[_Metaspace] | tuple[_Splitter]

    @model_validator(mode="after")
    def _at_spaces(self) -> _PreTokenizers:
        first = self.pretokenizers[0]
        if len(self.pretokenizers) == 2 and first.type != "WhitespaceSplit":
            raise ValueError("Metaspace would add a piece where there is no space")
        return self


class _Special(_Part):
    id: Piece
    type_id: int = Field(ge=0, le=15)


class _Text(_Part):
    id: Literal["A", "B"]
    type_id: int = Field(ge=0, le=15)


class _TemplatePart(_Part):
    SpecialToken: _Special | None = None
    Sequence: _Text | None = None


class _TemplateToken(_Part):
    id: Piece
    ids: list[Id] = Field(min_length=1, max_length=1)
    tokens: list[Piece] = Field(min_length=1, max_length=1)


class _Template(_Part):
    type: Literal["TemplateProcessing"]
    single: list[_TemplatePart] = Field(max_length=8)
    pair: list[_TemplatePart] = Field(default=[], max_length=8)
    special_tokens: dict[Piece, _TemplateToken]

    @model_validator(mode="after")
    def _each_text_once(self) -> _Template:
        for parts, wanted in ((self.single, ["A"]), (self.pair, ["A", "B"])):
            if parts and sorted(part.Sequence.id for part in parts if part.Sequence is not None) != wanted:
                raise ValueError("a template holds each text once")
            if not {part.SpecialToken.id for part in parts if part.SpecialToken is not None} <= set(
                self.special_tokens
            ):
                raise ValueError("a template holds a special piece that is not described")
        return self


class _Ends(_Part):
    type: Literal["BertProcessing", "RobertaProcessing"]
    sep: tuple[Piece, Id]
    cls: tuple[Piece, Id]
    trim_offsets: bool = True
    add_prefix_space: bool = True


_PostProcessor = _Template | _Ends | _ByteLevel


class _PostProcessors(_Part):
    type: Literal["Sequence"]
    processors: list[Annotated[_PostProcessor, Field(discriminator="type")]] = Field(max_length=3)


class _Decoder(BaseModel):
    """Nothing is ever decoded."""

    type: Literal["WordPiece", "ByteLevel", "Metaspace", "BPEDecoder", "Sequence"]


class _Vocabulary(_Part):
    vocab: dict[Piece, Id] = Field(min_length=1)
    unk_token: Piece | None = None

    @model_validator(mode="after")
    def _has_its_unknown(self) -> _Vocabulary:
        if self.unk_token is not None and self.unk_token not in self.vocab:
            raise ValueError("its unknown piece is not in its vocabulary")
        return self


class _WordPiece(_Vocabulary):
    type: Literal["WordPiece"] = "WordPiece"
    unk_token: Piece
    continuing_subword_prefix: str = Field(max_length=16)
    max_input_chars_per_word: int = Field(ge=1, le=1000)


class _WordLevel(_Vocabulary):
    type: Literal["WordLevel"] = "WordLevel"
    unk_token: Piece


class _Bpe(_Vocabulary):
    type: Literal["BPE"] = "BPE"
    merges: list[str | tuple[Piece, Piece]]
    dropout: None = None  # another answer each time
    continuing_subword_prefix: Annotated[str, Field(max_length=16)] | None = None
    end_of_word_suffix: Annotated[str, Field(max_length=16)] | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False


class _Unigram(_Part):
    type: Literal["Unigram"] = "Unigram"
    unk_id: Id
    vocab: list[tuple[Piece, Annotated[float, Field(allow_inf_nan=False)]]] = Field(min_length=1)
    byte_fallback: bool = False

    @model_validator(mode="after")
    def _has_its_unknown(self) -> _Unigram:
        if self.unk_id >= len(self.vocab):
            raise ValueError("its unknown piece is not in its vocabulary")
        return self


def _kind_of_model(model: Any) -> str | None:
    """The model's type, which older files leave out."""
    if not isinstance(model, dict):
        return None
    for kind, key in (("BPE", "merges"), ("Unigram", "unk_id"), ("WordPiece", "max_input_chars_per_word")):
        if "type" not in model and key in model:
            return kind
    return str(model.get("type", "WordLevel"))


class _AddedToken(_Part):
    id: Id
    content: str = Field(min_length=1, max_length=256)
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


_WhoCuts: TypeAlias = _Splitter | _ByteLevel | _Metaspace | _PreTokenizers


def _cuts(step: _WhoCuts | None, *, at_marks: bool) -> bool:
    """Whether it parts words: at spaces, or with `at_marks` at what a normalizer put in their place."""
    if isinstance(step, _PreTokenizers):
        return any(_cuts(one, at_marks=at_marks) for one in step.pretokenizers)
    if isinstance(step, _Metaspace):
        return step.split is not False
    if isinstance(step, _ByteLevel):
        return step.use_regex
    return step is not None and (step.type == "Whitespace" or not at_marks)


class TokenizerFile(_Part):
    """All of it."""

    version: str = Field(default="1.0", max_length=16)
    truncation: Any = None
    padding: Any = None
    added_tokens: list[_AddedToken] = Field(default=[], max_length=1 << 16)
    normalizer: Annotated[_Normalizer | _Normalizers, Field(discriminator="type")] | None = None
    pre_tokenizer: Annotated[_WhoCuts, Field(discriminator="type")] | None = None
    post_processor: Annotated[_PostProcessor | _PostProcessors, Field(discriminator="type")] | None = None
    decoder: _Decoder | None = None
    model: Annotated[
        Annotated[_WordPiece, Tag("WordPiece")]
        | Annotated[_WordLevel, Tag("WordLevel")]
        | Annotated[_Bpe, Tag("BPE")]
        | Annotated[_Unigram, Tag("Unigram")],
        Discriminator(_kind_of_model),
    ]

    @model_validator(mode="after")
    def _reads_words_one_by_one(self) -> TokenizerFile:
        """Within a word, one character may decide on all of its pieces: WordPiece takes a word whole or not at all, and
        one score that is large enough makes Unigram's other scores ties. So no word is a whole text.
        """
        steps = self.normalizer.normalizers if isinstance(self.normalizer, _Normalizers) else [self.normalizer]
        marked = any(isinstance(one, _Replace) and one.content == "▁" for one in steps)
        if not _cuts(self.pre_tokenizer, at_marks=marked):
            raise ValueError("does not cut texts at spaces, so that one word could decide on the pieces of all others")
        return self
