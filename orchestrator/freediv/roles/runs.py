"""Requests that share a run: their shares one below the other, and to each its own rows of the output."""

from __future__ import annotations

import hashlib

from ..secure.records import StageRecord
from ..secure.shares import Share, split_rows, zero_rows
from ..secure.worker import RunResult
from ..transformer import Architecture, input_shapes
from . import protocol_pb2 as pb
from .config import Agreement
from .requests import Answered, Inbox, Request
from .transfer import settings_of


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
        self, command: pb.ExecuteRequest, inbox: Inbox, architecture: Architecture, agreement: Agreement
    ) -> None:
        self._batches = [part.batch for part in command.parts]
        self._requests = [_sound(inbox.get(part.request), command, part) for part in command.parts]
        self.keys = tuple(part.request for part in command.parts)
        self.name = hashlib.sha256(repr([(part.request, part.batch) for part in command.parts]).encode()).hexdigest()
        self.sentences, self.length = sum(self._batches), command.length
        shapes = [input_shapes(architecture, batch, command.length) for batch in self._batches]
        settings = settings_of(agreement)
        self.inputs: dict[str, tuple[Share, ...]] = {
            name: tuple(
                request.inputs[name] if request is not None else zero_rows(shape[name], settings)
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

    def answer(self, result: RunResult) -> None:
        """Hand every request its own rows."""
        alone = len(self._requests) == 1
        outputs = [result.output] if alone else split_rows(result.output, self._batches)
        for request, output, sound in zip(self._requests, outputs, result.sound, strict=True):
            if request is not None and sound:
                request.events.put_nowait(Answered(output, result, len(self._requests), self.sentences))
            elif request is not None:
                request.end("refused", "the parties were given shares that do not belong together; send them again")


def _sound(request: Request | None, command: pb.ExecuteRequest, part: pb.Part) -> Request | None:
    """The request, if all of it is here and it is the one that rank 0 means."""
    if request is None or not request.inputs or request.ended is not None:
        return None
    meant = (command.model_id, part.batch, command.length)
    return request if (request.model_id, request.batch, request.length) == meant else None
