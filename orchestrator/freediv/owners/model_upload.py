"""A model on its way to the parties: every one gets its shares, and none gets again what it holds already."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from ..cluster.configuration import OwnerConfig
from ..errors import UserError
from ..mpc.sharing.shares import Share, share
from ..wire import protocol_pb2 as pb
from ..wire.channels import NotAnswered, explain
from ..wire.ending import Ending
from ..wire.share_transfer import describe, pieces
from .upload_randomness import Sharing

OnProgress = Callable[[str, float], None]
"""Called with what is being done, for people, and the fraction of it that is done."""
Parameters = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Sent:
    """Bytes sent to all parties together, and the part of the weights (0 to 1) that all of them held already."""

    nbytes: int
    held: float


async def send_shares(
    config: OwnerConfig,
    stubs: list[Any],
    sharing: Sharing,
    bundle: bytes,
    parameters: Parameters,
    on_progress: OnProgress,
    *,
    fresh_budget: bool = False,
) -> Sent:
    """Send every party its shares, one parameter after another; see `model_owner.load`.

    Raises:
        UserError: a party does not take them, or goes away.
    """
    uploads = [_Upload(rank, stub.Load(timeout=config.load_s)) for rank, stub in enumerate(stubs)]
    try:
        header = pb.LoadHeader(
            model_id=sharing.model_id,
            agreement=config.digest(),
            bundle_bytes=len(bundle),
            bundle_sha256=hashlib.sha256(bundle).hexdigest(),
            fresh_budget=fresh_budget,
        )
        held = await _send(config, uploads, sharing, header, bundle, parameters, on_progress)
        await asyncio.gather(*(upload.call.done_writing() for upload in uploads))
        await asyncio.gather(*(upload.end() for upload in uploads))
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, _Refusal):
        error = await _why(config, uploads)
        raise _with_advice(error, sharing) if isinstance(error, NotAnswered) else error from None
    finally:
        for upload in uploads:
            upload.call.cancel()
    return Sent(sum(upload.sent_bytes for upload in uploads), held)


class _Refusal(Exception):  # noqa: N818 (an event, not a mistake)
    """A party ended the upload."""


class _Upload:
    """One party's share of the upload."""

    def __init__(self, rank: int, call: Any) -> None:
        self.rank = rank
        self.sent_bytes = 0
        self.call = call
        self.ending = Ending(call)
        self.held = pb.Held()

    async def begin(self, header: pb.LoadHeader, bundle: bytes) -> None:
        """Ask what the party holds, and have it hold the bundle."""
        await self.call.write(pb.LoadMessage(header=header))
        held = await self.call.read()
        if held is grpc.aio.EOF:  # type: ignore[attr-defined]
            raise _Refusal
        self.held = held
        if not held.bundle:
            await self.data([bundle])

    async def data(self, chunks: Iterable[bytes]) -> None:
        for piece in pieces(tuple(chunks)):
            await self.call.write(pb.LoadMessage(data=piece))
            self.sent_bytes += len(piece)

    async def parameter(self, stage: str, name: str, own: Share) -> None:
        await self.call.write(pb.LoadMessage(share=describe(name, own, stage=stage)))
        await self.data(own.chunks)

    async def end(self) -> None:
        """Insist that the party has taken all of it."""
        if await self.call.code() != grpc.StatusCode.OK:
            raise _Refusal


async def _send(
    config: OwnerConfig,
    uploads: list[_Upload],
    sharing: Sharing,
    header: pb.LoadHeader,
    bundle: bytes,
    parameters: Parameters,
    on_progress: OnProgress,
) -> float:
    """What `Sent.held` says."""
    on_progress("asking the parties what they hold", 0.0)
    await asyncio.gather(*(upload.begin(header, bundle) for upload in uploads))
    everything = [(stage, name, value) for stage, own in parameters.items() for name, value in own.items()]
    total = sum(value.size for _, _, value in everything)
    before = min(upload.held.parameters for upload in uploads)
    done = sum(value.size for _, _, value in everything[:before])
    held = done / total
    if before:
        on_progress(f"going on where an upload was cut, at {held:.0%}", held)
    for number, (stage, name, value) in enumerate(everything[before:], before):
        shares = await asyncio.to_thread(
            share,
            value,
            config.settings,
            seeds=sharing.seeds(stage, name, config.world_size - 1),
        )
        lacking = (upload for upload in uploads if upload.held.parameters <= number)
        await asyncio.gather(*(upload.parameter(stage, name, shares[upload.rank]) for upload in lacking))
        done += value.size
        on_progress("sharing the weights", done / total)
    return held


async def _why(config: OwnerConfig, uploads: list[_Upload]) -> UserError:
    """The most telling of the errors that ended an upload."""
    found = [(upload.ending.error, upload.rank) for upload in uploads if upload.ending.error is not None]
    if not found:
        return UserError("the upload ended without a reason; see `freediv status`")
    error, rank = min(found, key=lambda one: one[0].code() == grpc.StatusCode.CANCELLED)
    return await explain(error, config, rank)


def _with_advice(error: NotAnswered, sharing: Sharing) -> NotAnswered:
    if sharing.path is None:
        return NotAnswered(f"{error}; as nothing can be kept in the model owner's folder, the next upload begins anew")
    return NotAnswered(f"{error}; loading the same model again goes on where this upload stopped")
