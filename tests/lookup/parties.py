"""Three parties in one process that look up and check what data owners sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from freediv.mpc.link.transport import Link, LinkConfig
from freediv.mpc.lookup.form import Form
from freediv.mpc.lookup.lookup import Lookup
from freediv.mpc.lookup.validity import Part, Told, sound
from freediv.mpc.replicated.protocol import Replicated
from freediv.mpc.replicated.words import encode
from replicated.conftest import RANKS, join, make_links, split, together

SEPARATOR = 3


def form(vocabulary: int, *, secret: bool = True, pairs: bool = False, length: int = 16) -> Form:
    """Of a model that reads all there is."""
    names = ("rows", *(["segment"] if pairs else []), "mask", "mask_over_length")
    real = np.array([[1.0] * n + [0.0] * (length - n) for n in range(1, length + 1)], np.float32)
    by_length = {"mask": real, "mask_over_length": real / np.arange(1, length + 1, dtype=np.float32)[:, None]}
    return Form(vocabulary, length, SEPARATOR if pairs else None, secret, names, by_length)


def texts(own: Form, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random word pieces and masks, with separators in the middle and at the end."""
    random = np.random.default_rng(seed)
    token_ids, mask = random.integers(4, own.vocabulary, (count, own.length)), np.zeros((count, own.length), np.int64)
    for row in range(count):
        pieces = random.integers(3, own.length + 1)
        mask[row, :pieces] = 1
        token_ids[row, [random.integers(1, pieces - 1), pieces - 1]] = SEPARATOR
    return token_ids, mask


class Parties:
    """Links and ends of three parties."""

    def __init__(self) -> None:
        peers = tuple((f"party-{rank}", "") for rank in RANKS)
        self.links = [
            Link(context, LinkConfig(rank, peers, 1, bytes(16), 1, 1)) for rank, context in enumerate(make_links())
        ]
        self.ends = together(*(lambda link=link: Replicated(link) for link in make_links()))

    def sound(self, own: Form, requests: Sequence[tuple[int, Sequence[bytes]]]) -> tuple[bool, ...]:
        """Which requests, of so many texts each, are run; the parties' one answer."""

        def check(rank: int) -> tuple[bool, ...]:
            parts = [Part(count, by_rank[rank]) for count, by_rank in requests]
            told = Told.of(own, rank, parts)
            heard, _ = self.links[rank].exchange("terms", told.messages(rank))
            return sound(own, rank, parts, told, heard, self.links[rank])[0]

        found = together(*(lambda rank=rank: check(rank) for rank in RANKS))
        assert found[0] == found[1] == found[2]
        return found[0]

    def look_up(
        self, own: Form, table: np.ndarray, by_rank: Sequence[bytes], taken: np.ndarray, threads: int = 1
    ) -> dict[str, np.ndarray]:
        """What the parties make of a request, as whole numbers of 2^-18."""
        ring = encode(table, 18)
        words = split(ring.view(np.int64), np.random.default_rng(1))
        held = [{pair % 3: words[pair % 3] for pair in (rank, rank + 1)} if own.secret else {0: ring} for rank in RANKS]
        found = together(
            *(
                lambda rank=rank: Lookup(held[rank], table.shape[1], 18, threads).run(
                    own, by_rank[rank], taken, self.ends[rank]
                )
                for rank in RANKS
            )
        )
        return {name: join([each[name] for each in found]) for name in own.activations}
