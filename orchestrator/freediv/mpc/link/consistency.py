"""Whether what three parties hold of an input is a sharing at all.

Party i holds words i and i+1 of each number, so each word is held twice. An owner that gave the two holders different
words would have the parties compute something else than the model: sums in which single words of the weights are left
over. Asked often enough, such sums could tell the weights. So before a run neighbours compare digests of what they hold
in common, which tell either of them nothing that it does not hold, and all hear of the outcome.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from ..records import Traffic
from ..sharing.shares import Share
from .transport import Link

_DIGEST_BYTES = 32


def in_common(rank: int, parts: Sequence[Mapping[str, Share]]) -> dict[int, bytes]:
    """What to tell each neighbour: a digest of every part's words that it holds too."""
    own: list[list[bytes]] = [[], []]
    for part in parts:
        digests = [part[name].digests() for name in sorted(part)]
        for word in range(2):
            own[word].append(hashlib.sha256(b"".join(each[word] for each in digests)).digest())
    return {(rank - 1) % 3: b"".join(own[0]), (rank + 1) % 3: b"".join(own[1])}


def all_sound(link: Link, own: Mapping[int, bytes], theirs: Mapping[int, bytes]) -> tuple[tuple[bool, ...], Traffic]:
    """Whether each part is a sharing, the same answer at all parties.

    Args:
        link: this party's end.
        own: by `in_common`, of each neighbour.
        theirs: what the neighbours had for this party.

    Raises:
        PeerLost: a party does not answer.
        WorkerFailed: what came was not sent by the parties.
    """
    count = len(next(iter(own.values()))) // _DIGEST_BYTES
    spans = [slice(_DIGEST_BYTES * i, _DIGEST_BYTES * (i + 1)) for i in range(count)]
    found = bytes(all(own[rank][span] == theirs[rank][span] for rank in own) for span in spans)
    heard, traffic = link.exchange("verdicts", dict.fromkeys(own, found))
    said = [found, *heard.values()]
    return tuple(all(len(each) == count and each[i] for each in said) for i in range(count)), traffic
