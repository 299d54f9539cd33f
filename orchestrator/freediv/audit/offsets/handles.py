"""What SEEK's script finds to hold on to as a data owner of a three-party deployment: every way to an offset, tried.

The checks are the ones that parties run. An owner can send shares of what the model reads, and nothing else: an input
by the name of what lies between two stages is refused with the request's header (`party/requests.py`), and words that
are not the same at both parties that hold them are found by their digests (`mpc/link/consistency.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ...cluster.configuration import Agreement, Limits
from ...cluster.identity import Role
from ...model import Architecture, Model, input_shapes, prepare_inputs, stages
from ...mpc.link.consistency import in_common
from ...mpc.sharing.shares import Share, share
from ...party.requests import Inbox, Refused
from ...wire import protocol_pb2 as pb
from ...wire.share_transfer import describe

_OWNER = Role("audit", "data-owner")
_AGREEMENT = Agreement(cluster="audit", lookup="rows")
"""Requests in shares, where an owner has more to try than bits."""
_MODEL_ID = "0" * 32
_OFFSET = 1 << 20


@dataclass(frozen=True)
class Handles:
    """How many ways were tried, and how many of them parties let pass; `sound` is whether an honest request does."""

    tried: int
    passed: int
    sound: bool


def try_handles(model: Model) -> Handles:
    """Try to put offsets between the stages of a model, as its data owner."""
    architecture = model.architecture
    length = _AGREEMENT.buckets_of(architecture)[0]
    pieces = np.full((1, length), architecture.pad_token, np.int32)
    values = prepare_inputs(architecture, pieces, np.ones((1, length)), table=model.public_table)
    by_rank: list[dict[str, Share]] = [{}, {}, {}]
    for name, array in values.items():
        for own, part in zip(by_rank, share(array), strict=True):
            own[name] = part
    between = [stage for stage in stages(architecture, folded=True) if stage.output not in values]
    tried = [_is_admitted(architecture, length, by_rank[0], (stage.name, stage.output)) for stage in between]
    for name in values:
        for rank in range(3):
            for word in range(2):
                changed = [own | {name: _add(own[name], word)} if r == rank else own for r, own in enumerate(by_rank)]
                tried.append(_belongs_together(changed))
    sound = _is_admitted(architecture, length, by_rank[0]) and _belongs_together(by_rank)
    return Handles(len(tried), sum(tried), sound)


def _is_admitted(
    architecture: Architecture, length: int, inputs: Mapping[str, Share], more: tuple[str, str] | None = None
) -> bool:
    """Whether a party takes a request in, with a share for a place between two stages beside its own."""
    announced = [describe(name, own) for name, own in inputs.items()]
    if more is not None:
        stage, name = more
        announced.append(describe(name, next(iter(inputs.values())), stage=stage))
    header = pb.InferHeader(request_id=bytes(16), model_id=_MODEL_ID, batch=1, length=length, inputs=announced)
    try:
        Inbox(_AGREEMENT, Limits(), 0).admit(_OWNER, header, _MODEL_ID, architecture)
    except Refused:
        return False
    return set(input_shapes(architecture, 1, length)) == set(inputs)


def _add(own: Share, word: int) -> Share:
    """A share with an offset in one of its words: what another party holds of that word stays as it is."""
    first = (int.from_bytes(own.chunks[word][:8], "little") + _OFFSET) % 2**64
    chunks = list(own.chunks)
    chunks[word] = first.to_bytes(8, "little") + chunks[word][8:]
    return replace(own, chunks=tuple(chunks))


def _belongs_together(by_rank: list[dict[str, Share]]) -> bool:
    """Whether parties find the same digests of what two of them hold."""
    told = [in_common(rank, [own]) for rank, own in enumerate(by_rank)]
    return all(told[rank][other] == told[other][rank] for rank in range(3) for other in told[rank])
