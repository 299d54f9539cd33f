"""What a party does for owners: takes models and requests, and gives answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from functools import partial
from typing import Any

import grpc

from ...cluster.credentials import key_fingerprint
from ...mpc.records import StageRecord
from ...tracing import parent_in, span, traceparent
from ...wire import protocol_pb2 as pb
from ...wire import protocol_pb2_grpc as rpc
from ...wire.channels import ADMITTED, PartyChannel
from ...wire.cost_transfer import result_message, stage_message
from ...wire.share_transfer import Incoming, describe, pieces
from ..answering import HEADER_S, Context, answering, next_message, other_topology, send
from ..member import ActiveModel, Member
from ..order.coordinator import Coordinator
from ..quotas import Claim
from ..requests import Answered, Ended, Outcome, Refused, Request, check_inputs
from .admission import caller

_PEER_S = 10.0


class ModelOwnerService(rpc.ModelOwnerServicer):
    """Takes a model's shares; on rank 0, has all parties switch to it."""

    def __init__(self, member: Member, coordinator: Coordinator | None) -> None:
        self._member = member
        self._coordinator = coordinator

    async def Load(self, _: Any, context: Context) -> None:  # noqa: N802
        """Take one party's shares of a model."""
        owner = key_fingerprint(next(iter(context.auth_context()["x509_pem_cert"])))
        header = await Incoming(lambda: next_message(context, HEADER_S)).message("header")
        incoming = Incoming(lambda: next_message(context))
        await self._member.uploads.take(header, incoming, owner, partial(send, context))

    async def Activate(self, request: pb.ActivateRequest, context: Context) -> None:  # noqa: N802
        """Have all parties switch to a model; tells how far they are."""
        assert self._coordinator is not None
        coordinator = self._coordinator
        switching = asyncio.ensure_future(coordinator.activate(request.model_id))
        try:
            while not (await asyncio.wait({switching}, timeout=0.3))[0]:
                states = [state for state in await coordinator.states() if isinstance(state, pb.PartyState)]
                linked = all(state.link_up for state in states)
                fraction = min((state.loading for state in states), default=0.0) if linked else 0.0
                step = "loading the shares" if linked else "connecting the parties"
                await send(context, pb.ActivateEvent(step=step, fraction=fraction))
            await switching
        finally:
            switching.cancel()


class DataOwnerService(rpc.DataOwnerServicer):
    """Serves the public bundle, and takes requests."""

    def __init__(self, member: Member, rank_0: PartyChannel) -> None:
        self._member = member
        self._rank_0 = rank_0
        self._tasks: set[asyncio.Task[None]] = set()

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> None:  # noqa: N802
        """What is public about the model in use."""
        if request.agreement != self._member.config.digest():
            raise other_topology()
        model = self._model()
        digest = model.manifest.bundle_sha256
        description = pb.ModelDescription(
            model_id=model.manifest.model_id, bundle_bytes=len(model.bundle), bundle_sha256=digest
        )
        await send(context, pb.ModelMessage(description=description))
        if request.with_bundle:
            for piece in pieces([model.bundle]):
                await send(context, pb.ModelMessage(data=piece))

    async def Infer(self, _: Any, context: Context) -> None:  # noqa: N802
        """Take a request's shares, and tell its owner what becomes of it."""
        started = time.monotonic()
        outcome: Outcome = "refused"
        request: Request | None = None
        claim: Claim | None = None
        try:
            async with answering(context):
                try:
                    request, claim = await self._admit(context)
                except Refused as error:
                    if error.limit is not None:
                        self._member.observer.turned_away(error.limit)
                    raise
                await context.send_initial_metadata(((ADMITTED, "yes"),))
                parent = parent_in(context.invocation_metadata() or ())
                rank, batch, length = self._member.config.rank, request.batch, request.length
                with span("party", parent, rank=rank, batch=batch, length=length):
                    await self._serve(request, claim, context)
                outcome = "answered"
        except asyncio.CancelledError:
            outcome = "dropped"
            raise
        finally:
            if request is not None and claim is not None:
                self._member.inbox.release(request)
                claim.close(give_back=request.costs_nothing)
                if request.ended is not None and outcome != "answered":
                    outcome = request.ended.outcome
            self._member.observer.request_finished(outcome, time.monotonic() - started)

    def _model(self) -> ActiveModel:
        if self._member.model is None:
            reason = "no model is loaded yet; the model owner has to run `freediv load`"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, reason)
        return self._member.model

    async def _admit(self, context: Context) -> tuple[Request, Claim]:
        owner, member = caller(context), self._member
        assert owner is not None
        with member.inbox.expecting(owner):
            header = await Incoming(lambda: next_message(context, HEADER_S)).message("header")
        model = self._model()
        manifest = model.manifest
        claim = member.quotas.reserve(owner, model.digest, header.batch)
        try:
            return member.inbox.admit(owner, header, manifest.model_id, manifest.architecture), claim
        except Refused:
            claim.close(give_back=True)
            raise

    async def _serve(self, request: Request, claim: Claim, context: Context) -> None:
        """From the first byte of the shares to the last of the result."""
        limits = self._member.config.limits
        try:
            await asyncio.wait_for(self._receive(request, context), limits.arrival_s)
            claim.spend()  # before any other party hears of it, and could begin
            await self._announce(request)
            await send(context, pb.InferEvent(queued=pb.Queued()))
            # Rank 0 ends every request; this is for the case that it is no longer there to do so.
            await asyncio.wait_for(self._relay(request, context), 2 * limits.run_s)
        except BaseException:
            if request.ended is None:
                self._withdraw(request)
            raise

    async def _receive(self, request: Request, context: Context) -> None:
        incoming = Incoming(lambda: next_message(context))
        inputs = {}
        for description in request.announced:
            inputs[description.name] = await incoming.share(description)
            _insist_on_life(request)
        await incoming.end()
        check_inputs(inputs, request.shapes, self._member.config.settings)
        request.inputs = inputs

    async def _announce(self, request: Request) -> None:
        """Tell rank 0 that this party has all of a request."""
        message = pb.ArrivedRequest(
            request=request.key, model_id=request.model_id, batch=request.batch, length=request.length
        )
        try:
            reply = await self._tell_rank_0().Arrived(message, timeout=_PEER_S, metadata=traceparent())
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.PERMISSION_DENIED:
                refused = f"party 0 turns party {self._member.config.rank} away: {error.details()}"
                raise Refused(grpc.StatusCode.ABORTED, refused) from None
            reason = "party 0, which decides the order of requests, cannot be reached; try again later"
            raise Refused(grpc.StatusCode.ABORTED, reason) from None
        if reply.refused:
            request.end("dropped", reply.refused)
        _insist_on_life(request)
        request.incarnation = reply.incarnation

    async def _relay(self, request: Request, context: Context) -> None:
        """Pass on what happens to a request, to its end."""
        while True:
            event = await request.events.get()
            if isinstance(event, Ended):
                raise Refused(grpc.StatusCode.ABORTED, event.cause)
            if isinstance(event, StageRecord):
                await send(context, pb.InferEvent(stage=stage_message(event)))
                continue
            await send(context, pb.InferEvent(result=self._result(event)))
            for piece in pieces(event.output.chunks):
                await send(context, pb.InferEvent(data=piece))
            return

    def _result(self, answer: Answered) -> pb.Result:
        # The most that party and worker ever held, in place of the worker's part.
        cost = replace(answer.cost, peak_memory_bytes=self._member.peak_memory_bytes())
        return result_message(describe("output", answer.output), cost, answer.requests, answer.sentences)

    def _tell_rank_0(self) -> rpc.PeerStub:
        return rpc.PeerStub(self._rank_0.get())  # type: ignore[no-untyped-call]

    def _withdraw(self, request: Request) -> None:
        async def tell() -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._tell_rank_0().Withdrawn(pb.WithdrawnRequest(request=request.key), timeout=_PEER_S)

        task = asyncio.ensure_future(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _insist_on_life(request: Request) -> None:
    if request.ended is not None:
        raise Refused(grpc.StatusCode.ABORTED, request.ended.cause)
