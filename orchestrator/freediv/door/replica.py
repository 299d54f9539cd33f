"""One deployment behind the door: its running session, how busy it is, and whether it can be asked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from ..cluster.configuration import OwnerConfig
from ..errors import UserError
from ..model import Given
from ..owners.connections import Connections
from ..owners.data_owner import Answers, OnProgress
from ..owners.served_model import ServedModel
from ..wire.status import PartyStatus, ask_parties

log = logging.getLogger(__name__)

_LOOK_S, _SOON_S = 10.0, 1.0
"""Between two looks at a deployment that can be asked, and at one that cannot."""
_PATIENCE_S = 5.0
"""A full queue has room sooner; a quota that has not is the caller's to wait for."""
NOT_ASKED = "its parties have not been asked yet"


class Replica:
    """A deployment as its data owner sees it. All callers share one session, so that the parties batch their requests.

    Attributes:
        config: of the data owner's folder.
        name: that the model is to have, if one was given.
        places: how many requests may be with the parties at a time; who waits for one is served in turn.
        texts: under way, or waiting for a place.
        problem: why it cannot be asked; empty where it can.
        parties: what each was at when it was last asked.
        model: what its parties serve, once that is known.
    """

    def __init__(self, config: OwnerConfig, *, name: str | None = None, places: int) -> None:
        self.config, self.name = config, name
        self.places = asyncio.Semaphore(places)
        self.texts = 0
        self.problem = NOT_ASKED
        self.parties: list[PartyStatus] = []
        self.model: ServedModel | None = None
        self._connections = Connections(config)
        self._look_now = asyncio.Event()

    @property
    def up(self) -> bool:
        """Whether it could answer, when it was last asked."""
        return not self.problem

    async def classify(self, texts: Sequence[Given], on_progress: OnProgress, *, truncate: bool) -> Answers:
        """Answers of its parties.

        Raises:
            UserError: as `DataOwner.classify`.
        """
        async with self._connections.used() as owner:
            return await owner.classify(texts, on_progress, truncate=truncate, patience_s=_PATIENCE_S)

    def fail(self, problem: str) -> None:
        """A request failed: nothing more is asked until its parties say that they are ready."""
        self._is(problem)
        self.look_soon()

    def look_soon(self) -> None:
        """Have its parties be asked what they are at, before it is time."""
        self._look_now.set()

    async def watch(self) -> None:
        """Look at the parties again and again, until cancelled; sooner where the deployment cannot be asked."""
        while True:
            await self.look()
            self._look_now.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), _LOOK_S if self.up else _SOON_S)
            if not self.up:
                await asyncio.sleep(_SOON_S)

    async def look(self) -> None:
        """Ask all parties what they are at, and which model they serve."""
        try:
            self.parties = await ask_parties(self.config)
            problem = _problem(self.parties)
            if not problem:
                used = self.parties[0].model_id
                async with self._connections.used() as owner:
                    known = self.model is not None and self.model.model_id == used
                    self.model = await owner.model(anew=not known)
        except UserError as error:
            problem = str(error)
        except Exception as error:  # whatever a library raises, the other deployments are served
            log.exception("cluster %s cannot be looked at", self.config.cluster)
            problem = f"freediv failed to look at it ({type(error).__name__}); see the door's log"
        self._is(problem)

    async def close(self) -> None:
        """End all connections."""
        await self._connections.close()

    def _is(self, problem: str) -> None:
        if problem != self.problem:
            log.log(
                logging.WARNING if problem else logging.INFO,
                "cluster %s %s",
                self.config.cluster,
                f"cannot be asked: {problem}" if problem else "can be asked",
            )
        self.problem = problem


def _problem(parties: Sequence[PartyStatus]) -> str:
    """What keeps parties from answering; empty if nothing does."""
    told = [party.problem for party in parties if party.problem]
    if told:
        return told[0]
    if not all(party.link_up for party in parties):
        return "the parties are not linked yet"
    if not all(party.ready for party in parties):
        return "the parties have no model yet, or are loading it"
    return "" if len({party.model_id for party in parties}) == 1 else "the parties are switching to another model"
