"""Tokenizers from others: only of known kinds, and never more pieces than a text has characters.

A model owner chooses how texts are cut, and parties see how many pieces there are, up to a bucket. A tokenizer that
repeats or removes what it likes would put any predicate on a text into that number. So a tokenizer.json holds steps of
known families alone, each of which leaves a text no longer than Unicode's own decompositions do, and what comes of each
text is counted. What is left to the model owner is the vocabulary: a word is one piece, or several, at most as many as
it has characters.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import ValidationError
from tokenizers import Encoding, Tokenizer, pre_tokenizers

from ...errors import UserError, one_line
from .charsmap import most_bytes, most_characters
from .pairs import Text, has_half_character
from .tokenizer_file import TokenizerFile

_MOST_BYTES = 1 << 26


def parse_tokenizer(content: str) -> Tokenizer:
    """A tokenizer.json of a known family, with neither padding nor truncation.

    Raises:
        ValueError: it is none; says in one line where and why.
    """
    if len(content) > _MOST_BYTES:
        raise ValueError(f"has {len(content):,} characters, more than any tokenizer")
    try:
        found = json.loads(content)
        TokenizerFile.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(one_line(str(part), 40) for part in first["loc"][:6]) or "file"
        raise ValueError(f"{where}: {one_line(first['msg'].removeprefix('Value error, '), 200)}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({one_line(str(error), 200)})") from None
    found |= {"truncation": None, "padding": None}
    with _refusing("cannot be used"):
        return Tokenizer.from_str(json.dumps(found))


def encode_counted(tokenizer: Tokenizer, texts: Sequence[Text], longest: int | None = None) -> Iterator[Encoding]:
    """What comes of each text, one after another, cut at so many pieces where `longest` says so.

    Raises:
        ValueError: a text gets more pieces than it has characters (bytes, where pieces are made of these), and special
            ones; or none, since the tokenizer does not know what to do with it. Says nothing of the text.
    """
    in_bytes = isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel) or getattr(
        tokenizer.model, "byte_fallback", False
    )
    tokenizer.no_truncation()
    if longest is not None:
        tokenizer.enable_truncation(longest)
    tokenizer.no_padding()
    with _refusing("the model's tokenizer cannot read a text"):
        encodings = tokenizer.encode_batch(list(texts))
    for text, encoding in zip(texts, encodings, strict=True):
        parts = (text,) if isinstance(text, str) else text
        special = tokenizer.num_special_tokens_to_add(len(parts) == 2)
        length = sum(map(most_bytes if in_bytes else most_characters, "".join(parts)))
        if len(encoding.ids) > length + special + len(parts):  # a space is added to the front of each
            raise ValueError(
                "the model's tokenizer makes more pieces of a text than that has characters, and their number would "
                "tell others what it says"
            )
        yield encoding


@contextmanager
def reading(texts: Sequence[Text]) -> Iterator[None]:
    """Around what a tokenizer makes of texts of one's own.

    Raises:
        UserError: it cannot read one; says which, where that can be seen.
    """
    try:
        with _refusing("the tokenizer cannot read a text"):
            yield
    except ValueError as error:
        halves = (number for number, text in enumerate(texts, start=1) if has_half_character(text))
        if (number := next(halves, None)) is not None:
            raise UserError(f"text {number} holds half a character (a lone surrogate); give it in UTF-8") from None
        raise UserError(f"{error}: is the piece for unknown words missing from its vocabulary?") from None


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """The library raises bare exceptions, whose words may be a text's, and panics, which are none of Python's."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{what} ({type(error).__name__})") from None
