"""Whether a running deployment computes with numbers that are no word pieces: one such query, sent and awaited."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...cluster.configuration import OwnerConfig, read_owner_config
from ...cluster.identity import read_identity
from ...errors import UserError
from ...model import Model
from ...mpc.sharing.shares import Share, share
from ...owners.sentences import Batch
from ...owners.served_model import fetch_model
from ...owners.session import Session
from ...wire import protocol_pb2_grpc as rpc
from ...wire.channels import channels
from .points import mix


@dataclass(frozen=True)
class Tried:
    """Whether a deployment answered a query between two texts, or what it said instead."""

    folder: Path
    answered: bool
    told: str = ""


def try_deployment(folder: Path) -> Tried:
    """Ask a running deployment about one point halfway between two texts; it costs a query of the quota.

    Raises:
        UserError: it cannot be reached, or serves nothing.
    """
    return asyncio.run(_try(read_owner_config(folder)))


async def _try(config: OwnerConfig) -> Tried:
    async with channels(config, read_identity(config)) as opened:
        stubs: list[Any] = [rpc.DataOwnerStub(channel) for channel in opened]  # type: ignore[no-untyped-call]
        model = await fetch_model(config, stubs)
        length = config.buckets_of(model.architecture)[0]
        pieces = np.arange(length, dtype=np.int32)[None] % model.architecture.vocabulary
        session = _Between(config, stubs, model, lambda progress: None, 1)
        try:
            await session.ask(Batch((0,), pieces, np.ones_like(pieces)))
        except UserError as error:
            return Tried(config.folder, False, str(error))
        if not session.shared:
            raise RuntimeError("the query that was answered was an honest one")
        return Tried(config.folder, True)


class _Between(Session):
    """A data owner's session that shares numbers where a text should be."""

    shared = False

    def _share(self, batch: Batch) -> list[dict[str, Share]]:
        model = Model(self._model.architecture, {"embedding": {"word": np.asarray(self._model.table)}})
        own = batch.read, batch.mask
        other = np.roll(batch.read, 1, axis=1), batch.mask
        by_rank: list[dict[str, Share]] = [{} for _ in range(self._config.world_size)]
        for name, values in mix(model, own, other, np.full(len(batch.read), 0.5)).items():
            for rank, part in enumerate(share(values, self._config.settings)):
                by_rank[rank][name] = part
        self.shared = True
        return by_rank
