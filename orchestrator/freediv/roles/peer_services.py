"""What parties say to each other, and what a party says of itself to everybody in the cluster."""

from __future__ import annotations

import contextlib

from . import protocol_pb2 as pb
from . import protocol_pb2_grpc as rpc
from .admission import caller
from .answering import Context, answering
from .config import Quota
from .coordinator import Coordinator
from .member import Member
from .quotas import Left
from .requests import Refused


class PeerService(rpc.PeerServicer):
    """What rank 0 tells this party and, on rank 0, what the others tell it."""

    def __init__(self, member: Member, coordinator: Coordinator | None) -> None:
        self._member = member
        self._coordinator = coordinator

    async def Inspect(self, request: pb.InspectRequest, context: Context) -> pb.PartyState:  # noqa: N802
        """What this party is at."""
        return self._member.state()

    async def Establish(self, request: pb.EstablishRequest, context: Context) -> pb.PartyState:  # noqa: N802
        """Come to a link and a model."""
        async with answering(context):
            await self._member.establish(request.epoch, request.model_id, request.incarnation)
        return self._member.state()

    async def Preload(self, request: pb.PreloadRequest, context: Context) -> pb.PreloadReply:  # noqa: N802
        """Load a model beside the one in use."""
        async with answering(context):
            await self._member.preload(request.model_id)
        return pb.PreloadReply()

    async def Keep(self, request: pb.KeepRequest, context: Context) -> pb.KeepReply:  # noqa: N802
        """Use a model from now on."""
        async with answering(context):
            self._member.keep(request.model_id)
        return pb.KeepReply()

    async def Execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteReply:  # noqa: N802
        """Run a request with the others."""
        return await self._member.execute(request)

    async def Drop(self, request: pb.DropRequest, context: Context) -> pb.DropReply:  # noqa: N802
        """End a request without a result."""
        for key in request.requests:
            self._member.drop(key, request.cause, failed=request.failed)
        return pb.DropReply()

    async def Arrived(self, request: pb.ArrivedRequest, context: Context) -> pb.ArrivedReply:  # noqa: N802
        """Another party (or this one) has all of a request."""
        role = caller(context)
        assert self._coordinator is not None and role is not None and role.rank is not None
        return self._coordinator.arrived(role.rank, request)

    async def Withdrawn(self, request: pb.WithdrawnRequest, context: Context) -> pb.WithdrawnReply:  # noqa: N802
        """A request's owner has gone away."""
        assert self._coordinator is not None
        self._coordinator.withdrawn(request.request)
        return pb.WithdrawnReply()


class StatusService(rpc.StatusServicer):
    """Tells everybody in the cluster what this party is at."""

    def __init__(self, member: Member, coordinator: Coordinator | None) -> None:
        self._member = member
        self._coordinator = coordinator

    async def GetStatus(self, request: pb.StatusRequest, context: Context) -> pb.PartyState:  # noqa: N802
        """This party's state, and what is left of quotas: to a data owner of its own, to others of all."""
        state = self._member.state(self._coordinator.problem if self._coordinator is not None else "")
        role, quotas = caller(context), self._member.quotas
        assert role is not None
        with contextlib.suppress(Refused):
            known = (
                [quotas.left(role, state.model_id)] if role.kind == "data-owner" else quotas.all_left(state.model_id)
            )
            state.quotas.extend(_quota(left) for left in known if left.quota != Quota())
        return state


def _quota(left: Left) -> pb.OwnerQuota:
    return pb.OwnerQuota(
        owner=str(left.owner),
        sentences_per_minute=left.quota.sentences_per_minute,
        left_this_minute=left.this_minute,
        budget=left.quota.budget,
        left_of_budget=left.budget,
    )
