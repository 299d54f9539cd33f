"""The file an operator writes: who the parties are, where they run and what they agree on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..yaml_file import Strict, read_yaml
from .addresses import is_loopback
from .batching import Batching
from .configuration import Agreement, Host, Limits, OwnerName, Peer, Port, Quota
from .gateways import check_gateway, is_elsewhere
from .identity import Role


class HostPlace(Strict):
    """A host that runs containers.

    `address` is how others reach it (by default its name), `engine` how `freediv up` reaches its Docker engine: an
    `ssh://`, `tcp://` or `unix://` address.
    """

    name: OwnerName
    address: Host | None = None
    engine: str | None = Field(default=None, pattern=r"^(ssh|tcp|https|unix)://\S+$")


class PartyPlace(Peer):
    """One party of a topology. `link_host` and `metrics_host` are for a party with an address on several networks."""

    metrics_host: Host | None = None
    metrics_port: Port
    threads: int = Field(default=1, ge=1, le=256)
    listen: Host | None = None

    @property
    def listen_address(self) -> str:
        """Where its ports listen: on loopback for a party that is reached there, otherwise on every address."""
        return self.listen or (self.host if is_loopback(self.host) else "::")

    def ports(self, world_size: int, gateway: bool) -> dict[str, int]:
        """Every port that it takes, by the name of its key or what it is for."""
        found = {"grpc_port": self.grpc_port, "link_port": self.link_port, "metrics_port": self.metrics_port}
        more = range(1, 2 * world_size + 1) if gateway else ()
        return found | {f"link_port (+{step}, for its gateway)": self.link_port + step for step in more}


class OwnerPlace(Strict):
    """An owner, and the host that it runs on, where the topology names hosts.

    `with_party` says that it may share that host with a party, whose operator can then read what it reads.
    """

    name: OwnerName | None = None
    host: OwnerName | None = None
    with_party: bool = False


class DataOwnerPlace(OwnerPlace):
    """A data owner; `quota` in place of the one for all."""

    quota: Quota | None = None


class MonitoringPlace(Strict):
    """The host that Prometheus and Grafana run on."""

    host: OwnerName


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Topology(Agreement):
    """A whole cluster. Refused: unknown keys, wrong numbers of parties, ranks given twice, ports that clash."""

    hosts: tuple[HostPlace, ...] = ()
    keys: Literal["here", "hosts"] = Field(
        default="here",
        description="Where private keys are made: all here (for a lab), or each on its host (by request).",
    )
    gateway: bool | None = Field(
        default=None,
        description="Whether a gateway beside each party admits peers and encrypts; "
        "by default where a party is not on loopback, and always there.",
    )
    parties: tuple[PartyPlace, ...]
    model_owner: OwnerPlace = OwnerPlace()
    data_owners: tuple[Annotated[DataOwnerPlace, BeforeValidator(_named)], ...] = ()
    monitoring: MonitoringPlace | None = None
    limits: Limits = Limits()
    batching: Batching = Batching()
    quota: Quota = Field(default=Quota(), description="What each data owner may ask.")

    @model_validator(mode="after")
    def _parties_fit(self) -> Topology:
        if len(self.parties) != self.world_size:
            raise ValueError(f"parties: {self.protocol} needs {self.world_size}, {len(self.parties)} are listed")
        seen: dict[int, int] = {}
        for index, party in enumerate(self.parties):
            if party.rank in seen:
                raise ValueError(f"parties[{index}].rank: rank {party.rank} is already parties[{seen[party.rank]}]'s")
            seen[party.rank] = index
            if party.rank >= self.world_size:
                raise ValueError(f"parties[{index}].rank: ranks go from 0 to {self.world_size - 1}, not {party.rank}")
        self.batching.check(self)
        names = [owner.name for owner in self.data_owners]
        if len(set(names)) != len(names):
            raise ValueError("data_owners: a name is given twice")
        for index, owner in enumerate(self.data_owners):
            if owner.quota is not None and owner.name is None:
                raise ValueError(f"data_owners[{index}].quota: give the owner a name, or set `quota` for all")
        return self

    @model_validator(mode="after")
    def _hosts_fit(self) -> Topology:
        names = [host.name for host in self.hosts]
        for index, host in enumerate(self.hosts):
            if host.name in names[:index]:
                raise ValueError(f"hosts[{index}].name: {host.name} is already hosts[{names.index(host.name)}]'s")
            if is_loopback(host.address or host.name):
                raise ValueError(f"hosts[{index}].address: {host.address or host.name} is another machine on each host")
        for index, party in enumerate(self.parties):
            for key in ("link_host", "metrics_host"):
                if self.hosts and getattr(party, key) is not None:
                    raise ValueError(f"parties[{index}].{key}: is for a party without `hosts`; remove it")
        for key, name in self._placements():
            if self.hosts and name is None:
                raise ValueError(f"{key}: is missing; the topology names hosts ({', '.join(names)})")
            if not self.hosts and name is not None and not key.startswith("parties"):
                raise ValueError(f"{key}: there are no hosts; list them under `hosts`")
            if self.hosts and name not in names:
                raise ValueError(f"{key}: there is no host '{name}'; `hosts` has {', '.join(names)}")
        with_parties = {party.host: index for index, party in enumerate(self.parties)} if self.hosts else {}
        for key, owner in self._owner_places():
            if owner.host in with_parties and not owner.with_party:
                raise ValueError(
                    f"{key}.host: {owner.host} also runs parties[{with_parties[owner.host]}], whose operator would see "
                    "all that this owner does; choose another host, or say `with_party: true`"
                )
        return self

    @model_validator(mode="after")
    def _link_is_guarded(self) -> Topology:
        check_gateway(self.has_gateway, self.by_rank)
        return self

    @model_validator(mode="after")
    def _ports_fit(self) -> Topology:
        taken: dict[tuple[str, int], str] = {}
        for index, party in enumerate(self.parties):
            for name, port in party.ports(self.world_size, self.has_gateway).items():
                key = f"parties[{index}].{name}"
                if port > 65535:
                    raise ValueError(f"{key}: {port} is beyond the last port, 65535")
                where = (_canonical(self.address(party.host)), port)
                if where in taken:
                    raise ValueError(f"{key}: port {port} on {party.host} is already {taken[where]}")
                taken[where] = key
        return self

    def _owner_places(self) -> Iterator[tuple[str, OwnerPlace]]:
        yield "model_owner", self.model_owner
        for index, owner in enumerate(self.data_owners or (DataOwnerPlace(),)):
            yield f"data_owners[{index}]", owner

    def _placements(self) -> Iterator[tuple[str, str | None]]:
        for index, party in enumerate(self.parties):
            yield f"parties[{index}].host", party.host
        for key, owner in self._owner_places():
            yield f"{key}.host", owner.host
        if self.monitoring is not None:
            yield "monitoring.host", self.monitoring.host

    @property
    def has_gateway(self) -> bool:
        """Whether a gateway beside each party carries the link."""
        return any(is_elsewhere(party) for party in self.by_rank) if self.gateway is None else self.gateway

    @property
    def by_rank(self) -> tuple[PartyPlace, ...]:
        """The parties in the order of their ranks, each with the address of its host."""
        parties = (party.model_copy(update={"host": self.address(party.host)}) for party in self.parties)
        return tuple(sorted(parties, key=lambda party: party.rank))

    def address(self, host: str) -> str:
        """How a host of `hosts` is reached; without any, a host is its address."""
        return next((one.address or one.name for one in self.hosts if one.name == host), host)

    def owners(self) -> tuple[tuple[Role, OwnerPlace], ...]:
        """The model owner and all data owners."""
        data = ((Role(self.cluster, "data-owner", name=p.name), p) for p in self.data_owners or (DataOwnerPlace(),))
        return ((Role(self.cluster, "model-owner"), self.model_owner), *data)

    def host_of(self, role: Role) -> HostPlace | None:
        """The host that a role runs on; None where the topology names no hosts."""
        if role.kind == "party":
            name: str | None = next(party.host for party in self.parties if party.rank == role.rank)
        else:
            name = next(place.host for owner, place in self.owners() if owner == role)
        return next((host for host in self.hosts if host.name == name), None)


def read_topology(path: Path) -> Topology:
    """Read a topology file.

    Raises:
        UserError: with the file, the line and the path of the key that is wrong.
    """
    return read_yaml(path, Topology)


def _canonical(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host
