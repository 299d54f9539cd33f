"""What every party says it is at, to each role as far as it concerns it (`party.calls.for_peers`)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import grpc

from ..cluster.addresses import join_host_port
from ..cluster.configuration import OwnerConfig, PartyAddress, PartyConfig
from ..cluster.identity import read_identity
from ..errors import UserError, one_line
from . import protocol_pb2 as pb
from . import protocol_pb2_grpc as rpc
from .channels import explain, open_channel

_SHORT_S = 5.0
_BETWEEN_S = 2.0


@dataclass(frozen=True)
class QuotaStatus:
    """What a data owner may ask of a party, and what of it is left (sentences); None: without limit."""

    owner: str
    sentences_per_minute: int | None
    left_this_minute: int | None
    budget: int | None
    left_of_budget: int | None

    @classmethod
    def of(cls, told: pb.OwnerQuota) -> QuotaStatus:
        """As a party told of it."""
        limits = (f.name for f in fields(cls) if f.name != "owner")
        return cls(told.owner, *(getattr(told, name) if told.HasField(name) else None for name in limits))

    @property
    def left(self) -> tuple[int | None, int | None]:
        """Of the budget, and of this minute."""
        return self.left_of_budget, self.left_this_minute

    def __str__(self) -> str:
        said = []
        if self.budget is not None:
            said.append(f"{self.left_of_budget} of {self.budget} sentences of this model")
        if self.sentences_per_minute is not None:
            said.append(f"{self.left_this_minute} now, at {self.sentences_per_minute} a minute")
        return f"{self.owner} has left: {', '.join(said)}"


@dataclass(frozen=True)
class StoredModel:
    """A model on a party's disk; `about` is its architecture in words, `uploaded` in seconds since 1970.

    With `fresh_budget` data owners' budgets began anew when it was first used.
    """

    model_id: str
    about: str
    uploaded: float
    fresh_budget: bool = False


@dataclass(frozen=True)
class PartyStatus:
    """One party's state; `answers` is false, and the rest empty, where it cannot be asked, and `problem` says why.

    `epoch` names the link, `model_id` the model in use, `loaded` the one whose shares are in the worker. Operators
    alone are told of `epoch`, `waiting_requests`, `computing`, `worker_restarts`, `worker_pid` and memory, which others
    see as 0, and of everybody's quotas; models that are `stored` are told to them and to the model owner.
    """

    rank: int
    address: str
    answers: bool
    link_up: bool = False
    epoch: int = 0
    model_id: str = ""
    loaded: str = ""
    loading: float = 0.0
    waiting_requests: int = 0
    computing: bool = False
    worker_restarts: int = 0
    peak_memory_bytes: int = 0
    memory_bytes: int = 0
    worker_pid: int = 0
    problem: str = ""
    quotas: tuple[QuotaStatus, ...] = ()
    stored: tuple[StoredModel, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether it could answer a request now, if the others can."""
        return self.link_up and self.loaded != "" and self.loaded == self.model_id


def least_left(states: Sequence[PartyStatus]) -> list[QuotaStatus]:
    """Of every data owner the quota at the party that lets it go on least: an answer takes all parties."""
    found: dict[str, list[QuotaStatus]] = {}
    for quota in (quota for state in states for quota in state.quotas):
        found.setdefault(quota.owner, []).append(quota)
    return [min(own, key=lambda quota: [math.inf if n is None else n for n in quota.left]) for own in found.values()]


def party_states(config: PartyConfig | OwnerConfig) -> list[PartyStatus]:
    """Ask all parties.

    Raises:
        UserError: the folder's own certificate cannot be used.
    """
    return asyncio.run(ask_parties(config))


def wait_for_parties(
    config: PartyConfig | OwnerConfig,
    timeout_s: float,
    *,
    with_model: bool,
    on_problem: Callable[[str], None] = lambda problem: None,
) -> None:
    """Wait until all parties are linked and, if that is asked for, serve a model; at most `timeout_s` seconds.

    `on_problem` is told in one line what is being waited for, whenever that is something else.

    Raises:
        UserError: they are not in time; says why.
    """
    deadline, told = time.monotonic() + timeout_s, ""
    while True:
        states = party_states(config)
        if all(state.ready if with_model else state.link_up for state in states):
            return
        reasons = dict.fromkeys(state.problem for state in states if state.problem)
        missing = "the parties have no model yet" if with_model else "the parties are not linked yet"
        problem = "; ".join(reasons) or missing
        if time.monotonic() > deadline:
            raise UserError(f"waited {timeout_s:g} s: {problem}")
        if problem != told:
            on_problem(problem)
            told = problem
        time.sleep(_BETWEEN_S)


def own_state(config: PartyConfig) -> PartyStatus:
    """Ask the party of this very folder, where it runs.

    Raises:
        UserError: the folder's own certificate cannot be used.
    """
    return asyncio.run(ask_parties(config, (config.reach(config.rank),)))[0]


async def ask_parties(
    config: PartyConfig | OwnerConfig, parties: Sequence[PartyAddress] | None = None
) -> list[PartyStatus]:
    """Ask these parties, by default all; see `party_states`."""
    identity = read_identity(config)

    async def ask(party: PartyAddress) -> PartyStatus:
        rank = party.rank
        address = join_host_port(party.host, party.grpc_port)
        channel = open_channel(config, party, identity)
        try:
            stub = rpc.StatusStub(channel)  # type: ignore[no-untyped-call]
            state = await stub.GetStatus(pb.StatusRequest(), timeout=_SHORT_S)
        except grpc.aio.AioRpcError as error:
            return PartyStatus(rank, address, answers=False, problem=str(await explain(error, config, rank)))
        finally:
            await channel.close(None)
        other = "was rendered from another topology" if state.agreement != config.digest() else ""
        return PartyStatus(
            rank,
            address,
            answers=True,
            link_up=state.link_up,
            epoch=state.epoch,
            model_id=state.model_id,
            loaded=state.loaded,
            loading=state.loading,
            waiting_requests=state.waiting_requests,
            computing=state.computing,
            worker_restarts=state.worker_restarts,
            peak_memory_bytes=state.peak_memory_bytes,
            memory_bytes=state.memory_bytes,
            worker_pid=state.worker_pid,
            problem=one_line(state.problem or other),
            quotas=tuple(map(QuotaStatus.of, state.quotas)),
            stored=tuple(
                StoredModel(one_line(one.model_id), one_line(one.about), one.uploaded, one.fresh_budget)
                for one in state.stored
            ),
        )

    return list(await asyncio.gather(*map(ask, config.parties if parties is None else parties)))
