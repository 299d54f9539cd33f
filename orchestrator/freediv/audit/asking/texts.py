"""The texts that an attacker asks about: the user's, or random ones of the model's own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ...conversion.texts.examples import Examples, read_examples, read_texts
from ...errors import UserError
from ...model import Model, Text, read_tokenizer
from ...model.reading.texts import texts_of as texts_alone

SHORTEST, LONGEST = 4, 24
"""Words of a random text."""
_RANK_SHIFT = 2.7
_BEGINS = ("▁", "Ġ")
"""How pieces that begin a word are marked, where those are."""


@dataclass(frozen=True)
class Texts:
    """Texts to ask about, others to compare answers on, and the attacker's own labels of the first, where there are.

    Attributes:
        queries: as many as are wanted, or as there are.
        held_out: none of them among the queries.
        labels: of the queries, int [count]; None: the attacker has none.
        source: what they are, for people.
    """

    queries: tuple[Text, ...]
    held_out: tuple[Text, ...]
    labels: np.ndarray | None
    source: str


def texts_of(path: Path, columns: Sequence[str], model: Model, count: int, held_out: int, seed: int) -> Texts:
    """The texts of a file in random order, each once: some held out, at most a fifth, and `count` of the others.

    Labels are read where the file has a column `label` that names the model's own.

    Raises:
        UserError: the file cannot be read, or has fewer than ten texts.
    """
    examples = _read(path, columns, model)
    first = np.sort(np.unique(np.array([repr(text) for text in examples.texts]), return_index=True)[1])
    if len(first) < 10:
        raise UserError(f"{path}: has {len(first)} texts; an audit needs ten or more, and thousands to mean something")
    rows = np.random.default_rng(seed).permutation(first)
    aside = min(held_out, len(rows) // 5)
    queries, kept = examples.take(rows[aside : aside + count]), examples.take(rows[:aside])
    return Texts(tuple(texts_alone(queries.texts)), tuple(texts_alone(kept.texts)), queries.labels, path.name)


def _read(path: Path, columns: Sequence[str], model: Model) -> Examples:
    if path.suffix.lower() == ".txt":
        return Examples(tuple(read_texts(path)), None, (), path, "")
    names = model.architecture.label_names
    return read_examples(path, text_columns=columns, label_names=names, labelled=None)


def random_texts(model: Model, count: int, held_out: int, seed: int) -> Texts:
    """Random texts of words that the model's public tokenizer has.

    Each has 4 to 24 words, drawn alone and with a probability that falls with a word's place in the vocabulary, as
    1 / (place + 2.7) does: vocabularies are in the order in which pieces are frequent, and words in a language are
    about as frequent as that (Zipf, with Mandelbrot's shift). Pieces that continue a word, those in brackets and single
    characters are left out. A model that reads pairs gets pairs.
    """
    if model.directory is None:
        raise ValueError("needs a model that was read from a directory")
    words = _words(read_tokenizer(model.directory), model.architecture.vocabulary)
    if not words:
        raise UserError("the model's tokenizer has no words to make random texts of; give texts with --texts")
    frequent = 1.0 / (np.arange(len(words)) + _RANK_SHIFT)
    random = np.random.default_rng(seed)
    parts = (1 + model.architecture.pairs) * (count + held_out)
    lengths = random.integers(SHORTEST, LONGEST + 1, parts)
    drawn = random.choice(len(words), lengths.sum(), p=frequent / frequent.sum())
    each = [" ".join(words[i] for i in own) for own in np.split(drawn, np.cumsum(lengths)[:-1])]
    texts: list[Text] = list(zip(each[::2], each[1::2], strict=True)) if model.architecture.pairs else list(each)
    return Texts(tuple(texts[:count]), tuple(texts[count:]), None, "random words")


def _words(tokenizer: Tokenizer, vocabulary: int) -> list[str]:
    """The words among the pieces, in their order."""
    special = {number for number, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    names = sorted((number, name) for name, number in tokenizer.get_vocab().items() if number < vocabulary)
    marked = any(name.startswith(_BEGINS) for _, name in names)
    found = []
    for number, name in names:
        begins = name.startswith(_BEGINS) if marked else not name.startswith(("##", "[", "<"))
        word = name.lstrip("".join(_BEGINS)) if marked else name
        if begins and number not in special and len(word) > 1 and word.isalpha():
            found.append(word)
    return found
