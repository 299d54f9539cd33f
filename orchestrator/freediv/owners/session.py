"""One request of a data owner: its shares to all parties, and the shares of its answer from them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from ..cluster.configuration import OwnerConfig
from ..errors import UserError
from ..model import input_shapes, prepare_inputs, stages
from ..model.answers import answer_of
from ..mpc.lookup.form import PIECES, Form, in_keys, keys_share
from ..mpc.records import Cost, StageRecord
from ..mpc.sharing.shares import Share, reconstruct, share
from ..process import available_memory_bytes
from ..tracing import traceparent
from ..wire import protocol_pb2 as pb
from ..wire.channels import ADMITTED, WITHDRAWN, Busy, NotAnswered, explain
from ..wire.cost_transfer import read_cost, read_stage
from ..wire.ending import Ending
from ..wire.share_transfer import announced_bytes, collect, describe, pieces
from .sentences import Batch
from .served_model import ServedModel

_CAUSES_S = 10.0
"""How long to wait for a party to name the cause, when another has only gone away."""
_JITTER = secrets.SystemRandom()
_BYTES_OF_A_NUMBER = 48
"""What sharing takes at its height for each number."""


@dataclass(frozen=True)
class RequestRecord:
    """What one request cost: its shape, the seconds that its owner waited, the bytes of shares sent to all parties.

    `run_requests` and `run_sentences` shared the run that the parties recorded, by rank: their costs are all of theirs
    together. `sent_away` is how often they had no room, and were asked again.
    """

    batch: int
    length: int
    seconds: float
    upload_bytes: int
    parties: tuple[Cost, ...]
    run_requests: int
    run_sentences: int
    sent_away: int


@dataclass(frozen=True)
class Progress:
    """How far `classify` is: `done` of `total` steps of all requests, and what it is at, for people."""

    step: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class _Part:
    """What one party answers."""

    output: Share
    cost: Cost
    run_requests: int
    run_sentences: int


class Session:
    """Requests to one model, one after another."""

    def __init__(
        self,
        config: OwnerConfig,
        stubs: Sequence[Any],
        model: ServedModel,
        on_progress: OnProgress,
        requests: int,
        patience_s: float = math.inf,
    ) -> None:
        self._config = config
        self._stubs = stubs
        self._model = model
        self._on_progress = on_progress
        self._patience_s = patience_s
        self._steps = len(stages(model.architecture, folded=True)) + 1
        self._total = requests * self._steps
        self._done = 0

    async def ask(self, batch: Batch) -> tuple[np.ndarray, RequestRecord]:
        """The output for one batch, and what it cost. Parties that have no room now are asked again.

        Raises:
            Busy: they want to be asked later than this owner has patience for, or than the request may take.
            UserError: a party does not answer, or is not as it should be; says what to do.
        """
        started = time.monotonic()
        deadline = started + self._config.request_s
        self._tell("sharing the sentences")
        by_rank = await asyncio.to_thread(self._share, batch)
        sent_away = 0
        while True:
            try:
                answers = await self._attempt(batch, by_rank, deadline - time.monotonic())
                break
            except Busy as busy:
                # Those who were sent away together do not come back together.
                wait = busy.retry_after_s * _JITTER.uniform(1.0, 1.5)
                if busy.retry_after_s > self._patience_s or time.monotonic() + wait > deadline:
                    waited = f"gave up after {time.monotonic() - started:.0f} s"
                    raise Busy(f"{busy}; {waited}", busy.retry_after_s) from None
                self._tell(f"the parties are busy; asking again in {wait:.0f} s")
                await asyncio.sleep(wait)
                sent_away += 1
        self._done += 1
        try:
            output = reconstruct([answer.output for answer in answers], self._config.settings)
        except ValueError as error:
            raise NotAnswered(f"the parties' answers do not belong together ({error}); tell the operators") from None
        upload = sum(own.nbytes for shares in by_rank for own in shares.values())
        parties = tuple(answer.cost for answer in answers)
        first = answers[0]
        shape, seconds = batch.shape, time.monotonic() - started
        run = (first.run_requests, first.run_sentences)
        return output, RequestRecord(*shape, seconds, upload, parties, *run, sent_away)

    async def _attempt(self, batch: Batch, by_rank: list[dict[str, Share]], seconds: float) -> list[_Part]:
        """Send a request to all parties, and have their parts of the answer."""
        request_id = secrets.token_bytes(16)
        size, length = batch.shape
        headers = [
            pb.InferHeader(
                request_id=request_id,
                model_id=self._model.model_id,
                batch=size,
                length=length,
                inputs=[describe(name, own) for name, own in shares.items()],
            )
            for shares in by_rank
        ]
        traced = traceparent()
        first = Ending(self._stubs[0].Infer(timeout=seconds, metadata=traced))
        try:
            await self._admission(first, headers[0])
            endings = [first, *(Ending(stub.Infer(timeout=seconds, metadata=traced)) for stub in self._stubs[1:])]
            work = [self._one(rank, ending, headers[rank], by_rank[rank]) for rank, ending in enumerate(endings)]
            return await self._all(work, [ending.call for ending in endings])
        finally:
            first.call.cancel()

    async def _admission(self, ending: Ending, header: pb.InferHeader) -> None:
        """Have party 0 take a request in, before the others see it: where places are few, it gives them to the same."""
        call = ending.call
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.write(pb.InferMessage(header=header))
        try:
            with ending.told():
                metadata = await call.initial_metadata()
                if ADMITTED not in (metadata or ()):
                    await call.read()  # raises what the party said
                    raise NotAnswered("party 0 did not take the request; see its log")
        except grpc.aio.AioRpcError as error:
            raise await explain(error, self._config, 0) from None

    def _insist_on_memory(self, batch: Batch) -> None:
        """How much a request takes is the model's to say, whose vocabulary is its owner's choice."""
        size, length = batch.shape
        numbers = sum(map(math.prod, input_shapes(self._model.architecture, size, length).values()))
        needed, there = _BYTES_OF_A_NUMBER * numbers, available_memory_bytes()
        if needed > there:
            a = self._model.architecture
            what = f"{size} texts of {length} word pieces" if a.padded else f"{size} images of {length} rows"
            whose = f"whose vocabulary has {a.vocabulary:,} pieces" if a.padded else f"of {a.embedding_size:,} numbers"
            raise UserError(
                f"to share {what} takes {needed / 1e9:.1f} GB with the model in use, {whose}; {there / 1e9:.1f} GB are "
                f"free: send fewer {'texts' if a.padded else 'images'} at a time, or tell the model owner"
            )

    def _share(self, batch: Batch) -> list[dict[str, Share]]:
        config = self._config
        if in_keys(self._model.architecture, config.lookup):
            return self._keys(batch)
        self._insist_on_memory(batch)
        inputs = prepare_inputs(self._model.architecture, batch.read, batch.mask, table=self._model.table)
        by_rank: list[dict[str, Share]] = [{} for _ in range(config.world_size)]
        for name, values in inputs.items():
            for rank, own in enumerate(share(values, config.settings)):
                by_rank[rank][name] = own
        return by_rank

    def _keys(self, batch: Batch) -> list[dict[str, Share]]:
        size, length = batch.shape
        try:
            by_rank = Form.of(self._model.architecture, length).write(batch.read, batch.mask)
        except ValueError as error:
            raise UserError(f"the model's tokenizer does not fit the model: {error}; tell the model owner") from None
        return [{PIECES: keys_share(content, size)} for content in by_rank]

    async def _one(self, rank: int, ending: Ending, header: pb.InferHeader, shares: dict[str, Share]) -> _Part:
        """One party's part of a request: its share of the output, and what it recorded."""
        with ending.told():
            await self._send(rank, ending.call, header, shares)
            return await self._answer(rank, ending.call, header)

    async def _send(self, rank: int, call: Any, header: pb.InferHeader, shares: dict[str, Share]) -> None:
        # A party that refuses ends the call while it is still written to; reading then says why.
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            if rank > 0:
                await call.write(pb.InferMessage(header=header))
            for own in shares.values():
                for piece in pieces(own.chunks):
                    await call.write(pb.InferMessage(data=piece))
            await call.done_writing()

    async def _answer(self, rank: int, call: Any, header: pb.InferHeader) -> _Part:
        records: list[StageRecord] = []
        async for event in call:
            kind = event.WhichOneof("content")
            if kind == "queued" and rank == 0:
                self._tell("waiting for the parties")
            elif kind == "stage":
                records.append(_read_stage(event.stage, rank))
                if rank == 0:
                    self._done += 1
                    self._tell(f"computing {records[-1].stage}")
            elif kind == "result":
                output = await self._output(call, event.result.output)
                self._check(output, header)
                cost = read_cost(records, event.result)
                return _Part(output, cost, max(1, event.result.run_requests), max(1, event.result.run_sentences))
        raise NotAnswered(f"party {rank} ended the request without a result; see its log")

    async def _output(self, call: Any, description: pb.ShareDescription) -> Share:
        announced_bytes(description, _MOST_OUTPUT)
        content = await collect(call, sum(description.chunk_bytes))
        chunks, start = [], 0
        for count in description.chunk_bytes:
            chunks.append(content[start : start + count])
            start += count
        return Share(description.meta, tuple(chunks))

    def _check(self, output: Share, header: pb.InferHeader) -> None:
        """Insist on a share of the answer: another shape could take any amount of memory."""
        architecture, kind = self._model.architecture, self._config.output
        if output.shape != answer_of(architecture).shape(architecture, kind, header.batch, header.length):
            raise ValueError(f"it has shape {list(output.shape)}")

    async def _all(self, work: list[Any], calls: list[Any]) -> list[_Part]:
        """All parties' parts. If one fails, the others get a moment to say more about it, and are then cancelled."""
        tasks = [asyncio.ensure_future(one) for one in work]
        try:
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if waiting and all(_telling(task.exception()) == _SILENT for task in done if task.exception()):
                await asyncio.wait(waiting, timeout=_CAUSES_S)
            if any(not task.done() or task.exception() is not None for task in tasks):
                await self._raise(tasks)
            return [task.result() for task in tasks]
        finally:
            for call in calls:
                call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _raise(self, tasks: list[Any]) -> None:
        failures = [
            (rank, task.exception()) for rank, task in enumerate(tasks) if task.done() and task.exception() is not None
        ]
        rank, error = min(failures, key=lambda one: _telling(one[1]))
        if isinstance(error, grpc.aio.AioRpcError):
            raise await explain(error, self._config, rank) from None
        if isinstance(error, UserError):
            raise error
        raise NotAnswered(f"party {rank} sent an answer that cannot be read ({error}); tell its operator") from None

    def _tell(self, step: str) -> None:
        self._on_progress(Progress(step, self._done, self._total))


_MOST_OUTPUT = 64 << 20
_SILENT = 2


def _telling(error: BaseException | None) -> int:
    """Less is more: what a party says comes before that it is gone, or that another has ended the request."""
    if isinstance(error, grpc.aio.AioRpcError):
        silent = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
        return _SILENT if error.code() in silent or error.details() == WITHDRAWN else 0
    return 1


def _read_stage(stage: pb.Stage, rank: int) -> StageRecord:
    try:
        return read_stage(stage)
    except ValueError as error:
        raise NotAnswered(f"party {rank}: {error}; tell its operator") from None
