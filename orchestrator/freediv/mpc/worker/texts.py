"""What the requests of a run become, once the parties have agreed on it: what a lane reads of its texts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ...errors import UserError
from ..link.consistency import all_sound, in_common
from ..link.transport import Link
from ..lookup.form import PIECES, Form, check_input, texts_of
from ..lookup.lookup import Lookup
from ..lookup.validity import Part, Told, sound
from ..records import Traffic
from ..shares_engine import end_of, share_of
from ..sharing.settings import ProtocolSettings
from ..sharing.shares import Share, join_rows, split_rows, zero_rows
from ..spu.runtime import Lane

Inputs = Mapping[str, tuple[Share, ...]]
"""By name, the shares of each request."""
Terms = Mapping[str, object]


class Texts(Protocol):
    """All texts of a run."""

    def give(self, lane: Lane) -> None:
        """Have a lane's variables hold what the model reads of the lane's texts."""


@dataclass(frozen=True)
class Agreed:
    """What the parties agreed on: the texts, which requests are sound, and what it took."""

    texts: Texts
    sound: tuple[bool, ...]
    traffic: Traffic


@dataclass(frozen=True)
class _Shared:
    """Texts that came as shares of what the model reads, by name, for each lane."""

    parts: Mapping[str, Sequence[Share]]

    def give(self, lane: Lane) -> None:
        for name, parts in self.parts.items():
            lane.set(name, parts[lane.index])


@dataclass(frozen=True)
class _Keyed:
    """Texts that came as keys: of each lane's texts, and which of them are looked up."""

    form: Form
    lookup: Lookup
    keys: Sequence[bytes] = field(repr=False)
    taken: Sequence[np.ndarray] = field(repr=False)

    def give(self, lane: Lane) -> None:
        found = self.lookup.run(self.form, self.keys[lane.index], self.taken[lane.index], end_of(lane))
        for name, words in found.items():
            lane.set(name, share_of(words))


def agree_on_shares(
    link: Link, settings: ProtocolSettings, terms: Terms, inputs: Inputs, rows: Sequence[int]
) -> Agreed:
    """Agree on a run of requests in shares; what is no sharing is run as zeros.

    Args:
        link: this party's end.
        settings: the protocol.
        terms: what has to be alike at all parties.
        inputs: that were checked.
        rows: of each lane.

    Raises:
        NotBegun: a party cannot begin.
        WorkerFailed: as `Link.agree` and `Link.exchange`.
    """
    parts = [dict(zip(inputs, part, strict=True)) for part in zip(*inputs.values(), strict=True)]
    # Elsewhere no two parties hold anything in common, or the ring is one that is not served.
    if (settings.name, settings.field) != ("ABY3", "FM64"):
        verdicts, traffic = (True,) * len(parts), link.agree(terms)[1]
    else:
        own = in_common(link.config.rank, parts)
        theirs, first = link.agree(terms, own)
        verdicts, second = all_sound(link, own, theirs)
        traffic = first + second
    taken = [
        part if good else {name: zero_rows(own.shape, settings) for name, own in part.items()}
        for part, good in zip(parts, verdicts, strict=True)
    ]
    joined = {name: join_rows([part[name] for part in taken]) for name in inputs}
    return Agreed(_Shared({name: split_rows(own, rows) for name, own in joined.items()}), verdicts, traffic)


def agree_on_keys(link: Link, form: Form, lookup: Lookup, terms: Terms, inputs: Inputs, rows: Sequence[int]) -> Agreed:
    """Agree on a run of requests in keys; of what is no text of word pieces nothing is looked up.

    Args:
        link, terms, inputs, rows: as for `agree_on_shares`.
        form: of the requests.
        lookup: of the model that is run.

    Raises:
        NotBegun, WorkerFailed: as `agree_on_shares`.
    """
    rank = link.config.rank
    parts = [Part(texts_of(share), share.chunks[0]) for share in inputs[PIECES]]
    told = Told.of(form, rank, parts)
    heard, first = link.agree(terms, told.messages(rank))
    verdicts, second = sound(form, rank, parts, told, heard, link)
    keys = b"".join(part.keys for part in parts)
    taken = np.repeat(verdicts, [part.texts for part in parts])
    bounds, size = np.cumsum([0, *rows]).tolist(), form.bytes_of_a_text(rank)
    spans = list(itertools.pairwise(bounds))
    of_lanes = [keys[start * size : stop * size] for start, stop in spans]
    texts = _Keyed(form, lookup, of_lanes, [taken[start:stop] for start, stop in spans])
    return Agreed(texts, verdicts, first + second)


def check_inputs(inputs: Inputs, shapes: Mapping[str, tuple[int, ...]], settings: ProtocolSettings) -> None:
    """Insist that a run's inputs are what its shape says, of however many requests.

    Raises:
        UserError: says which is not.
    """
    if set(inputs) != set(shapes):
        raise UserError(f"inputs are {', '.join(sorted(inputs))}; the model takes {', '.join(sorted(shapes))}")
    for name, shape in shapes.items():
        own = inputs[name]
        try:
            rows = [shape[0] if len(own) == 1 else rows_of(name, part) for part in own]
            for part, count in zip(own, rows, strict=True):
                check_input(name, part, (count, *shape[1:]), settings)
        except ValueError as error:
            raise UserError(f"input {name}: {error}") from None
        if sum(rows) != shape[0]:
            raise UserError(f"the shares of {name} have other rows than the {shape[0]} of the batch")


def rows_of(name: str, share: Share) -> int:
    """How many texts a request's share is of, as it says.

    Raises:
        ValueError: it does not say.
    """
    try:
        return texts_of(share) if name == PIECES else share.shape[0]
    except IndexError:
        raise ValueError("a share's description cannot be read") from None
