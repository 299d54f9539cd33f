"""How a party takes a model's shares: each checked as it comes; a complete model is there at once, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from pydantic import ValidationError

from ...cluster.configuration import PartyConfig
from ...errors import UserError
from ...model import Architecture, Certificate, parameter_shapes
from ...model.answers import answer_of
from ...model.thinness import drops_tokens
from ...mpc.sharing.share_files import Manifest, read_all, stored_bytes, write_manifest, write_share
from ...wire import protocol_pb2 as pb
from ...wire.share_transfer import MOST_BUNDLE, MOST_PARAMETER, BadTransfer, Incoming, announced_bytes
from ..answering import in_thread, other_topology
from ..requests import Refused, most_bytes
from .model_store import BUNDLE, ModelStore
from .unfinished_uploads import UnfinishedUploads

log = logging.getLogger(__name__)
_BEFORE_S = 2.0
"""How long an upload waits for the end of the one before: its owner's own, perhaps, which was cut."""

Tell = Callable[[pb.Held], Awaitable[Any]]


class Uploads:
    """Takes models into a store, one upload at a time."""

    def __init__(self, config: PartyConfig, store: ModelStore) -> None:
        self._config, self._store = config, store
        self._unfinished = UnfinishedUploads(config.store_directory, config.limits)
        self._turn = asyncio.Lock()

    async def take(self, header: pb.LoadHeader, incoming: Incoming, owner: str, tell: Tell) -> None:
        """Take one party's shares of a model.

        Args:
            header: the owner's first message.
            incoming: those after it.
            owner: whose certificate's key it came with; nobody else can go on with this upload.
            tell: sends what is held already; what is missing comes only then.

        Raises:
            BadTransfer: what comes is not what it should be.
            Refused: another upload is under way, or there is no room.
            UserError: the disk does not take it.
            ValueError: the id is not one, or is another model's.
        """
        try:
            await asyncio.wait_for(self._turn.acquire(), _BEFORE_S)
        except asyncio.TimeoutError:
            reason = "another upload is under way; try again when it is over"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason) from None
        try:
            await self._take(header, incoming, owner, tell)
        finally:
            self._turn.release()

    async def forget_unfinished(self) -> None:
        """Delete uploads that were cut when their time is over; until cancelled."""
        await self._unfinished.keep_forgetting()

    async def _take(self, header: pb.LoadHeader, incoming: Incoming, owner: str, tell: Tell) -> None:
        if header.agreement != self._config.digest():
            raise other_topology()
        if not 0 < header.bundle_bytes <= MOST_BUNDLE:
            raise BadTransfer(f"a public bundle has 1 to {MOST_BUNDLE} bytes, not {header.bundle_bytes}")
        directory = self._unfinished.find(header.model_id, owner)
        if header.model_id in self._store.stored():
            await self._is_complete(header, incoming, tell)
            return
        with self._unfinished.under_way(header.model_id):
            held, architecture = 0, None
            if directory is not None:
                held, architecture = await in_thread(self._held, directory, header.bundle_sha256)
            await tell(pb.Held(bundle=architecture is not None, parameters=held))
            if directory is None or architecture is None:
                bundle = await incoming.exactly(header.bundle_bytes)
                architecture = self._architecture(bundle, header.bundle_sha256)
                self._insist_on_room(architecture, 0)
                directory = await in_thread(self._unfinished.begin, header.model_id, owner, bundle)
            else:
                self._insist_on_room(architecture, stored_bytes(directory))
            await self._receive(incoming, directory, architecture, held)
            await in_thread(write_manifest, directory, self._manifest(header, architecture))
            self._unfinished.finish(header.model_id, self._store.directory(header.model_id))
        log.info("the shares of model %s are complete", header.model_id)

    async def _is_complete(self, header: pb.LoadHeader, incoming: Incoming, tell: Tell) -> None:
        """Say that all of a model is here, to whoever was cut off before it was told; a model is never changed."""
        manifest = self._store.manifest(header.model_id)
        if manifest.bundle_sha256 == header.bundle_sha256:
            await tell(pb.Held(bundle=True, parameters=_count(manifest.architecture)))
            with contextlib.suppress(BadTransfer):
                await incoming.end()
                return
        raise ValueError(f"model {header.model_id} is already here")

    def _held(self, directory: Path, bundle_sha256: str) -> tuple[int, Architecture | None]:
        """How many parameters of an upload came whole, and its architecture; None where it has to begin anew."""
        try:
            architecture = self._architecture((directory / BUNDLE).read_bytes(), bundle_sha256)
        except (OSError, BadTransfer):
            return 0, None
        held = 0
        with contextlib.suppress(UserError):  # the first that is not there, or damaged
            for _ in read_all(directory, architecture, self._config.settings):
                held += 1
        return held, architecture

    def _architecture(self, bundle: bytes, digest: str) -> Architecture:
        """What a bundle says of a model that this cluster may serve."""
        if hashlib.sha256(bundle).hexdigest() != digest:
            raise BadTransfer("the public bundle is not what its digest says")
        content = pb.Bundle()
        try:
            content.ParseFromString(bundle)
            architecture = Architecture.model_validate_json(content.architecture)
            certificate = Certificate.model_validate_json(content.certificate) if content.certificate else None
        except (DecodeError, ValidationError) as error:
            raise BadTransfer(f"the public bundle holds no architecture ({type(error).__name__})") from None
        if certificate is not None and (why := self._config.misfit(certificate, architecture)) is not None:
            raise BadTransfer(f"its answers could be wrong without a sign: {why}")
        if drops_tokens(architecture):
            raise BadTransfer("the model drops tokens by attention, which is for plaintext alone")
        if (why := answer_of(architecture).misfit(self._config.output)) is not None:
            raise BadTransfer(why)
        return architecture

    def _insist_on_room(self, architecture: Architecture, stored: int) -> None:
        shapes = parameter_shapes(architecture, folded=True)
        needed = 8 * sum(math.prod(shape) for own in shapes.values() for shape in own.values()) - stored
        if needed > (free := self._unfinished.room(needed)):
            reason = f"the disk has {free} bytes left; the model takes {needed}"
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)

    async def _receive(self, incoming: Incoming, directory: Path, architecture: Architecture, held: int) -> None:
        """Put all parameters but the first `held` on disk."""
        settings = self._config.settings
        everything = [
            (stage, name, shape)
            for stage, own in parameter_shapes(architecture, folded=True).items()
            for name, shape in own.items()
        ]
        for stage, name, shape in everything[held:]:
            share = await incoming_parameter(incoming, stage, name, shape)
            try:
                share.check(shape, settings)
            except ValueError as error:
                raise BadTransfer(f"{stage}/{name}: {error}") from None
            await in_thread(write_share, directory, stage, name, share)
        await incoming.end()

    def _manifest(self, header: pb.LoadHeader, architecture: Architecture) -> Manifest:
        config = self._config
        return Manifest(
            model_id=header.model_id,
            architecture=architecture,
            output=config.output,
            bundle_sha256=header.bundle_sha256,
            rank=config.rank,
            protocol=config.protocol,
            field=config.field,
            fraction_bits=config.fraction_bits,
            parties=config.world_size,
            fresh_budget=header.fresh_budget,
        )


async def incoming_parameter(incoming: Incoming, stage: str, name: str, shape: tuple[int, ...]) -> Any:
    """The share of the parameter that has to come now."""
    description = await incoming.message("share")
    if (description.stage, description.name) != (stage, name):
        raise BadTransfer(f"{description.stage}/{description.name} came where {stage}/{name} is due")
    announced_bytes(description, min(most_bytes(shape), MOST_PARAMETER))
    return await incoming.share(description)


def _count(architecture: Architecture) -> int:
    return sum(map(len, parameter_shapes(architecture, folded=True).values()))
