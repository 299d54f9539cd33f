"""Requests that share a run: their shares one below the other, and to each its own rows of the output."""

from __future__ import annotations

import hashlib

from ..cluster.configuration import PartyConfig
from ..cluster.identity import Role
from ..model import Architecture
from ..mpc.lookup.form import PIECES, nothing, request_shapes
from ..mpc.records import StageRecord
from ..mpc.sharing.shares import Share, split_rows
from ..mpc.worker.worker import RunResult
from ..wire import protocol_pb2 as pb
from .requests import Answered, Inbox, Request


class Run:
    """One party's part of a run that rank 0 has ordered.

    A request that this party does not hold any more, because its owner went away, is run as zeros: nobody will have
    its answer, and the others must not suffer.

    Attributes:
        name: what the parties compare, so that all of them run the same requests in the same order.
        sentences, length: the shape of the run.
        inputs: by activation name, each request's share, in order.
    """

    def __init__(
        self, command: pb.ExecuteRequest, inbox: Inbox, architecture: Architecture, config: PartyConfig
    ) -> None:
        self._batches = [part.batch for part in command.parts]
        self._requests = [_sound(inbox.get(part.request), command, part) for part in command.parts]
        for request in filter(None, self._requests):
            request.began = True
        self.keys = tuple(part.request for part in command.parts)
        self.name = hashlib.sha256(repr([(part.request, part.batch) for part in command.parts]).encode()).hexdigest()
        self.sentences, self.length = sum(self._batches), command.length
        shapes = [
            request_shapes(architecture, batch, command.length, config.lookup, config.rank) for batch in self._batches
        ]
        settings = config.settings
        self.inputs: dict[str, tuple[Share, ...]] = {
            name: tuple(
                request.inputs[name] if request is not None else nothing(name, shape[name], settings)
                for request, shape in zip(self._requests, shapes, strict=True)
            )
            for name in shapes[0]
        }

    def tell(self, record: StageRecord) -> None:
        """A stage of the run is over."""
        for request in filter(None, self._requests):
            request.events.put_nowait(record)

    def end(self, cause: str) -> None:
        """There will be no result."""
        for request in filter(None, self._requests):
            request.end("failed", cause)

    def answer(self, result: RunResult) -> list[tuple[Role, str]]:
        """Hand every request its own rows; the owners of those that are refused, and why, are returned."""
        refused: list[tuple[Role, str]] = []
        alone = len(self._requests) == 1
        outputs = [result.output] if alone else split_rows(result.output, self._batches)
        for request, output, sound in zip(self._requests, outputs, result.sound, strict=True):
            if request is not None and sound:
                request.answer(Answered(output, result.cost, len(self._requests), self.sentences))
            elif request is not None:
                refused.append((request.owner, _NO_TEXT if PIECES in self.inputs else _NO_SHARING))
                request.end("refused", refused[-1][1])
        return refused


_NO_SHARING = "the parties were given shares that do not belong together; send them again"
_NO_TEXT = "what the parties were given is no text of word pieces, and is not answered; it counts like one that is"


def _sound(request: Request | None, command: pb.ExecuteRequest, part: pb.Part) -> Request | None:
    """The request, if all of it is here and it is the one that rank 0 means."""
    if request is None or not request.inputs or request.ended is not None:
        return None
    meant = (command.model_id, part.batch, command.length)
    return request if (request.model_id, request.batch, request.length) == meant else None
