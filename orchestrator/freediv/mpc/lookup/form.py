"""What a data owner sends of its texts: keys of point functions, for each party its own.

Word i of a number is held by parties i and i - 1, which are *pair* i: the first and the second. Of every piece a pair
gets the keys of a one-hot over the vocabulary and one index more, which padding has: three pairs where the word table
is secret, one (pair 0) where it is published. And of every text pair 0 gets the one-hot of its number of pieces, and,
where the model reads pairs of texts, of the place of its first separator. Everything that a model reads is made of
these (`lookup`), and they are compared with each other (`validity`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from ...model import Architecture, input_shapes, masks_of
from ..sharing import settings
from ..sharing.shares import Share, zero_rows
from .point_functions import Keys, generate, key_bytes

Kind: TypeAlias = Literal["pieces", "lengths", "separators"]


@dataclass(frozen=True)
class Section:
    """A kind of keys for one pair.

    Attributes:
        kind: what they choose.
        pair: who has them: party `pair` the first, the party before it the second.
        count: keys for each text.
        size: indices of each.
    """

    kind: Kind
    pair: int
    count: int
    size: int

    @property
    def bytes_of_a_text(self) -> int:
        """Of one party's keys."""
        return self.count * key_bytes(self.size)

    def party(self, rank: int) -> int | None:
        """Which of the two keys a party has, 0 or 1; None: neither."""
        return {self.pair: 0, (self.pair - 1) % 3: 1}.get(rank)


@dataclass(frozen=True)
class Form:
    """How requests to a model, of texts of one length, are written.

    Attributes:
        vocabulary: of the model; the index of padding, too.
        length: of a text, with its padding.
        separator: the piece that ends the first text of a pair, where the model reads which is which.
        secret: whether the word table is.
        activations: what is to be made of it, by name.
        by_length: those that a text's length says, as tables [length, rows]: row n - 1 for n pieces, and a column for
            each place, or for each row that pooling leaves.
    """

    vocabulary: int
    length: int
    separator: int | None
    secret: bool
    activations: tuple[str, ...]
    by_length: Mapping[str, np.ndarray] = field(repr=False, compare=False)

    @classmethod
    def of(cls, architecture: Architecture, length: int) -> Form:
        """That of a model."""
        names = tuple(input_shapes(with_rows(architecture), 1, length))
        separator = architecture.separator_token if "segment" in names else None
        by_length = masks_of(with_rows(architecture), np.tri(length))
        return cls(architecture.vocabulary, length, separator, architecture.embedding == "secret", names, by_length)

    @property
    def sections(self) -> tuple[Section, ...]:
        """All kinds of keys, in their order."""
        pairs = range(3) if self.secret else range(1)
        found = [Section("pieces", pair, self.length, self.vocabulary + 1) for pair in pairs]
        found.append(Section("lengths", 0, 1, self.length))
        if self.separator is not None:
            found.append(Section("separators", 0, 1, self.length))
        return tuple(found)

    def of_party(self, rank: int) -> tuple[Section, ...]:
        """Those of which a party has keys, in the order in which it has them."""
        return tuple(section for section in self.sections if section.party(rank) is not None)

    def bytes_of_a_text(self, rank: int) -> int:
        """What a party is sent of each text."""
        return sum(section.bytes_of_a_text for section in self.of_party(rank))

    def write(self, token_ids: np.ndarray, mask: np.ndarray) -> list[bytes]:
        """A request: what each party gets, by rank, one text after another.

        Args:
            token_ids: [batch, length].
            mask: [batch, length], 1 for word pieces, of which each text has one at least, and no padding before any.

        Raises:
            ValueError: padding before a piece, a text without any, a piece that the vocabulary does not have, or no
                separator where one is needed.
        """
        real = np.asarray(mask) != 0
        lengths = real.sum(axis=1)
        if np.any(lengths < 1) or np.any(real != (np.arange(self.length) < lengths[:, None])):
            raise ValueError("a text has word pieces, and its padding after them")
        pieces = np.where(real, token_ids, self.vocabulary)
        if np.any(pieces[real] >= self.vocabulary) or np.any(pieces < 0):
            raise ValueError("a word piece is outside the vocabulary")
        indices: dict[Kind, np.ndarray] = {"pieces": pieces, "lengths": lengths[:, None] - 1}
        if self.separator is not None:
            ends = pieces == self.separator
            if not np.all(ends.any(axis=1)):
                raise ValueError("a text has no separator")
            indices["separators"] = ends.argmax(axis=1)[:, None]
        batch = len(real)
        by_rank: list[list[np.ndarray]] = [[], [], []]
        for section in self.sections:
            keys = generate(indices[section.kind].reshape(-1), section.size)
            for rank, parts in enumerate(by_rank):
                if (party := section.party(rank)) is not None:
                    parts.append(keys[party].reshape(batch, -1))
        nothing = np.empty((batch, 0), np.uint8)
        return [np.concatenate([nothing, *parts], axis=1).tobytes() for parts in by_rank]

    def read(self, content: bytes, rank: int) -> Mapping[Section, Keys]:
        """A party's keys [texts * count, key_bytes] of each section that it has, of any bytes of the right number.

        Raises:
            ValueError: it is another number.
        """
        own = self.bytes_of_a_text(rank)
        if own and len(content) % own:
            raise ValueError(f"{len(content)} bytes came, {own} are due for each text")
        texts = np.frombuffer(content, np.uint8).reshape(-1, own) if own else np.empty((0, 0), np.uint8)
        return dict(self._cut(texts, rank))

    def _cut(self, texts: np.ndarray, rank: int) -> Iterator[tuple[Section, Keys]]:
        start = 0
        for section in self.of_party(rank):
            stop = start + section.bytes_of_a_text
            yield section, np.ascontiguousarray(texts[:, start:stop]).reshape(-1, key_bytes(section.size))
            start = stop


WORD_TABLE = ("embedding", "word")
"""Stage and name of what is looked up in."""
PIECES = "pieces"
"""What a request in keys is called among a party's inputs."""


def request_shapes(
    architecture: Architecture, batch: int, length: int, lookup: settings.Lookup, rank: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of what a party is sent, by name: of numbers, or of `PIECES` in bytes [batch, bytes of a text]."""
    if in_keys(architecture, lookup):
        return {PIECES: (batch, Form.of(architecture, length).bytes_of_a_text(rank))}
    return input_shapes(architecture, batch, length)


def in_keys(architecture: Architecture, lookup: settings.Lookup) -> bool:
    """Whether requests to a model are keys, as its cluster has them; images have no words, and come as numbers."""
    return lookup == "points" and architecture.padded


def keys_share(content: bytes, texts: int) -> Share:
    """A party's keys of so many texts, as they travel."""
    return Share(b"keys of %d texts" % texts, (content,))


def texts_of(share: Share) -> int:
    """Of how many texts keys are, that `check_input` let pass."""
    return int(share.meta.split()[2])


def check_input(name: str, share: Share, shape: tuple[int, ...], of: settings.ProtocolSettings) -> None:
    """Refuse what came from outside, and is not what a request of this shape has.

    Raises:
        ValueError: says what differs.
    """
    if name != PIECES:
        return share.check(shape, of)
    if share.meta != keys_share(b"", shape[0]).meta or [len(chunk) for chunk in share.chunks] != [shape[0] * shape[1]]:
        raise ValueError(f"keys of {shape[0]} texts are due, of {shape[1]} bytes each")


def nothing(name: str, shape: tuple[int, ...], of: settings.ProtocolSettings) -> Share:
    """In the place of a request that a party does not have."""
    return keys_share(bytes(shape[0] * shape[1]), shape[0]) if name == PIECES else zero_rows(shape, of)


def with_rows(architecture: Architecture) -> Architecture:
    """The same model where it reads rows of its word table, which have been looked up."""
    return architecture.model_copy(update={"embedding": "public"})
