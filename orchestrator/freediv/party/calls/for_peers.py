"""What parties say to each other, and what a party says of itself to whoever asks."""

from __future__ import annotations

import contextlib

from ...cluster.configuration import Quota
from ...cluster.identity import Role
from ...tracing import parent_in, span
from ...wire import protocol_pb2 as pb
from ...wire import protocol_pb2_grpc as rpc
from ..answering import Context
from ..member import Member
from ..order.coordinator import Coordinator
from ..quotas import Left
from ..requests import Refused
from .admission import caller


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
        await self._member.establish(request.epoch, request.secret, request.model_id, request.incarnation)
        return self._member.state()

    async def Preload(self, request: pb.PreloadRequest, context: Context) -> pb.PreloadReply:  # noqa: N802
        """Load a model beside the one in use."""
        await self._member.preload(request.model_id)
        return pb.PreloadReply()

    async def Keep(self, request: pb.KeepRequest, context: Context) -> pb.KeepReply:  # noqa: N802
        """Use a model from now on."""
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
        with span("coordinator", parent_in(context.invocation_metadata() or ()), of_rank=role.rank):
            return self._coordinator.arrived(role.rank, request)

    async def Withdrawn(self, request: pb.WithdrawnRequest, context: Context) -> pb.WithdrawnReply:  # noqa: N802
        """A request's owner has gone away."""
        assert self._coordinator is not None
        self._coordinator.withdrawn(request.request)
        return pb.WithdrawnReply()


class StatusService(rpc.StatusServicer):
    """Tells everybody in the cluster what this party is at, as far as it concerns them."""

    def __init__(self, member: Member, coordinator: Coordinator | None) -> None:
        self._member = member
        self._coordinator = coordinator

    async def GetStatus(self, request: pb.StatusRequest, context: Context) -> pb.PartyState:  # noqa: N802
        """What of this party's state concerns whoever asks."""
        role = caller(context)
        assert role is not None
        state = self._member.state(self._coordinator.problem if self._coordinator is not None else "")
        told = _told(role, state)
        with contextlib.suppress(Refused):
            told.quotas.extend(_quota(left) for left in self._left(role) if left.quota != Quota())
        return told

    def _left(self, role: Role) -> list[Left]:
        quotas, model = self._member.quotas, self._member.model
        digest = model.digest if model is not None else ""
        if role.kind == "data-owner":
            return [quotas.left(role, digest)]
        return quotas.all_left(digest) if role.kind == "party" else []


_TO_ALL = ("rank", "agreement", "link_up", "model_id", "loaded", "loading", "problem")
_TO_MODEL_OWNERS = (*_TO_ALL, "beside", "stored")


def _told(role: Role, state: pb.PartyState) -> pb.PartyState:
    """A state, as far as it concerns a role.

    A party's operator sees all of it. Who owns the model or asks it sees whether it is served, and none of what changes
    when a data owner asks: requests that wait or run, memory, others' quotas, workers and links that were renewed.
    """
    if role.kind == "party":
        return state
    told = pb.PartyState()
    for name in _TO_MODEL_OWNERS if role.kind == "model-owner" else _TO_ALL:
        if name == "stored":
            told.stored.extend(state.stored)
        else:
            setattr(told, name, getattr(state, name))
    return told


def _quota(left: Left) -> pb.OwnerQuota:
    return pb.OwnerQuota(
        owner=str(left.owner),
        sentences_per_minute=left.quota.sentences_per_minute,
        left_this_minute=left.this_minute,
        budget=left.quota.budget,
        left_of_budget=left.budget,
    )
