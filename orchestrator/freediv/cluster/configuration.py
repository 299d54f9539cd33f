"""What a role's folder says: its place in the cluster and what the whole cluster agreed on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from ..errors import UserError
from ..mpc.sharing.settings import Beaver, Lookup, Products, Protocol, ProtocolSettings, fewest_parties
from ..yaml_file import Strict, read_yaml
from .addresses import host_name, join_host_port, local_address
from .batching import Batching
from .gateways import check_gateway

if TYPE_CHECKING:
    from ..model import Architecture, Certificate

CLUSTER_NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"


def _refuse_fm32(value: Any) -> Any:
    if value == "FM32":
        raise ValueError("FM32 is refused: SPU's matrix products crash in a 32-bit ring; use FM64")
    return value


Host = Annotated[str, AfterValidator(host_name)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
OwnerName = Annotated[str, Field(pattern=CLUSTER_NAME)]


class Agreement(Strict):
    """What all roles of a cluster must agree on. Everything in it is public."""

    cluster: str = Field(
        pattern=CLUSTER_NAME,
        description="Name of the cluster: lower-case letters, digits and hyphens. Certificates carry it.",
    )
    protocol: Protocol = Field(
        default="ABY3", description="ABY3: three parties, any one of them learns nothing. SEMI2K: two parties."
    )
    beaver: Beaver | None = Field(
        default=None,
        description="SEMI2K only: where its triples come from. Rank 0 makes them, and could learn everything.",
    )
    field: Annotated[Literal["FM64"], BeforeValidator(_refuse_fm32)] = Field(
        default="FM64", description="The ring: integers modulo 2^64."
    )
    fraction_bits: int = Field(default=18, ge=10, le=24, description="Bits after the binary point of a shared number.")
    products: Products = Field(
        default="shares",
        description="Where matrix products are done: on the shares by the party's own worker (ABY3), or by SPU; "
        "spu-blocks: all heads in one product, fewer messages for more work.",
    )
    lookup: Lookup = Field(
        default="points",
        description="How word pieces get to the parties. points: as keys, small, and checked to be word pieces (needs "
        "products on the shares); rows: as shares of one-hots, or of a published table's rows.",
    )
    output: Literal["label", "logits", "order", "threshold"] = Field(
        default="label",
        description="What a data owner receives: no more than what the model answers, such as the label; the logits, "
        "which tell more about it; of scores, the order of a request's texts alone, or which are above a threshold.",
    )
    buckets: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field(
        default=(16, 32, 64, 128),
        min_length=1,
        max_length=16,
        description="Lengths in word pieces that sentences are padded to. Of a sentence, parties see only this length.",
    )
    max_batch: int = Field(default=8, ge=1, le=256, description="Most sentences of one request.")

    @model_validator(mode="before")
    @classmethod
    def _products_of_the_protocol(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("protocol") == "SEMI2K":
            given = {"products": "spu"} | given
        if isinstance(given, dict) and given.get("products", "shares") != "shares":
            given = {"lookup": "rows"} | given
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Agreement:
        if list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError("buckets must grow and not repeat")
        if self.protocol == "SEMI2K" and self.beaver is None:
            raise ValueError(
                "SEMI2K's triples come from a trusted first party, which is not safe; "
                "use ABY3, or ask for it with `beaver: trusted-first-party`"
            )
        if self.protocol != "SEMI2K" and self.beaver is not None:
            raise ValueError("beaver is only for SEMI2K; remove it")
        if self.products == "shares" and self.protocol != "ABY3":
            raise ValueError("products on the shares need ABY3; use `products: spu`")
        if self.lookup == "points" and self.products != "shares":
            raise ValueError("lookup by points needs products on the shares; use `lookup: rows`")
        return self

    @property
    def world_size(self) -> int:
        """Number of parties."""
        return fewest_parties(self.protocol)

    @property
    def settings(self) -> ProtocolSettings:
        """The protocol, as shares are made and joined under it."""
        return ProtocolSettings(self.protocol, self.field, self.fraction_bits, self.world_size, self.beaver)

    def buckets_of(self, architecture: Architecture) -> tuple[int, ...]:
        """The buckets that a model can use, by `Architecture.usable`."""
        return architecture.usable(self.buckets)

    def misfit(self, certificate: Certificate, architecture: Architecture) -> str | None:
        """Why this cluster must not serve a model, and what to do; None where nothing speaks against it."""
        return certificate.misfit(
            field=self.field,
            fraction_bits=self.fraction_bits,
            length=self.buckets_of(architecture)[-1],
            row_limits=architecture.row_limits,
        )

    def agreement(self) -> Agreement:
        """Only the part that all roles share."""
        return Agreement.model_validate({name: getattr(self, name) for name in Agreement.model_fields})

    def digest(self) -> str:
        """SHA-256 of the agreement, by which parties and owners notice that theirs differ."""
        return hashlib.sha256(self.agreement().model_dump_json().encode()).hexdigest()


MOST_UNFINISHED_S = 30 * 86400
"""The longest that any party may be told to keep an upload that was cut."""


class Limits(Strict):
    """How long a party waits, and how much it holds."""

    arrival_s: float = Field(
        default=60, gt=0, le=3600, description="seconds for a request's shares to reach every party"
    )
    run_s: float = Field(default=600, gt=0, le=86400, description="seconds for a request to run, compilation included")
    connect_s: float = Field(default=60, gt=0, le=3600, description="seconds for the parties' links to connect")
    receive_s: float = Field(default=60, gt=0, le=3600, description="seconds to wait for a peer's message on the link")
    load_s: float = Field(
        default=3600, gt=0, le=86400, description="seconds for an upload of a model, and for loading it"
    )
    waiting_requests: int = Field(
        default=32,
        ge=1,
        le=4096,
        description="requests held at a time; one owner's take a place only while they are no more than what is left",
    )
    models: int = Field(default=2, ge=1, le=100, description="models kept on disk: the one in use, and those before it")
    waiting_bytes: int = Field(
        default=1 << 30, ge=1 << 20, description="bytes of shares held for them, shared out like the places"
    )
    unfinished_s: float = Field(
        default=86400,
        ge=0,
        le=MOST_UNFINISHED_S,
        description="seconds for which an upload that was cut is kept, for its owner to go on with",
    )
    unfinished_uploads: int = Field(
        default=2, ge=0, le=100, description="such uploads kept at a time; beyond, the oldest are deleted"
    )
    unfinished_bytes: int = Field(default=8 << 30, ge=0, description="bytes of disk that they take together, likewise")


class Quota(Strict):
    """How much one data owner may ask. Without a number: as much as it likes."""

    sentences_per_minute: int | None = Field(
        default=None, ge=1, description="sentences in a minute; a request that comes too soon is told when to come back"
    )
    budget: int | None = Field(default=None, ge=1, description="sentences asked of one model, over all its uploads")


class PartyAddress(Strict):
    """Where a party is reached."""

    rank: int = Field(ge=0, le=2, strict=True)
    host: Host
    grpc_port: Port


class Peer(PartyAddress):
    """Where a party is reached by its peers, too: `link_port` is its gateway's first door, unused where it has none."""

    link_host: Host | None = None
    link_port: Port

    def door(self, rank: int) -> int:
        """Port of its gateway's door for a party; at its own rank's number, SPU itself listens on loopback."""
        return self.link_port + rank

    def exit(self, rank: int, world_size: int) -> int:
        """Port on loopback by which this party reaches another through its gateway."""
        return self.link_port + world_size + rank

    def gateway_metrics_port(self, world_size: int) -> int:
        """Port on which its gateway counts bytes for monitoring."""
        return self.link_port + 2 * world_size


class Files(Strict):
    """A role's certificate; paths are relative to its folder."""

    ca: Path = Path("ca.pem")
    certificate: Path = Path("certificate.pem")
    key: Path = Path("key.pem")


class _RoleConfig(Agreement):
    files: Files = Field(default=Files(), description="This role's certificate and key, relative to this folder.")
    _folder: Path = Path()

    @property
    def folder(self) -> Path:
        """The folder that the configuration was read from."""
        return self._folder

    @property
    def ca(self) -> Path:
        """Certificate of the cluster's authority."""
        return self._folder / self.files.ca

    @property
    def certificate(self) -> Path:
        """This role's certificate."""
        return self._folder / self.files.certificate

    @property
    def key(self) -> Path:
        """This role's private key."""
        return self._folder / self.files.key


class PartyConfig(_RoleConfig):
    """config.yaml of a party."""

    role: Literal["party"] = Field(default="party", description="What this folder is for.")
    rank: int = Field(ge=0, le=2, description="This party's rank. Rank 0 decides the order of requests.")
    listen: Host = Field(
        description="Address that this party's ports listen on; `::` (or 0.0.0.0) is every one, of IPv4 and of IPv6."
    )
    metrics_listen: Host | None = Field(default=None, description="Address of /metrics, where it is another.")
    metrics_port: Port = Field(description="Port of /metrics (plain HTTP; keep it for monitoring).")
    gateway: bool = Field(
        default=False,
        description="Whether a gateway beside this party carries the link: always, unless all parties are on loopback.",
    )
    threads: int = Field(default=1, ge=1, le=256, description="Cores that this party may use.")
    parties: tuple[Peer, ...] = Field(
        description="All parties, with this one. grpc_port is for owners and peers, link_port for peers only."
    )
    store: Path = Field(default=Path("store"), description="Where weight shares are kept, relative to this folder.")
    limits: Limits = Field(default=Limits(), description="After what this party gives up or refuses.")
    batching: Batching = Field(default=Batching(), description="Requests that share a run; rank 0 decides on them.")
    quota: Quota = Field(default=Quota(), description="What a data owner may ask that has no quota of its own.")
    quotas: dict[OwnerName, Quota] = Field(default={}, description="What single data owners may ask, by their names.")
    _sockets: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> PartyConfig:
        _check_ranks(self.parties, self.world_size)
        self.batching.check(self)
        check_gateway(self.gateway, self.parties)
        if self.rank >= self.world_size:
            raise ValueError(f"rank {self.rank} does not exist among {self.world_size} parties")
        return self

    def at_sockets(self, directory: Path) -> PartyConfig:
        """The same party, which meets its gateway at Unix sockets in a directory, not on loopback."""
        other = self.model_copy()
        other._sockets = directory
        return other

    @property
    def runs(self) -> Batching:
        """How requests share runs, with what is revealed of them."""
        return self.batching.with_output(self.output)

    @property
    def me(self) -> Peer:
        """This party's own entry."""
        return self.parties[self.rank]

    def reach(self, rank: int) -> Peer:
        """Where a party is reached from here: this one without leaving the machine."""
        peer = self.parties[rank]
        return peer.model_copy(update={"host": local_address(self.listen)}) if rank == self.rank else peer

    def quota_of(self, owner: str | None) -> Quota:
        """What a data owner of this name may ask."""
        return self.quota if owner is None else self.quotas.get(owner, self.quota)

    def link_addresses(self) -> tuple[str, ...]:
        """Where SPU finds every party through the gateway, by rank; at this party's own rank, where it listens."""
        if self._sockets is not None:
            return tuple(f"unix:{self._sockets / str(rank)}" for rank in range(self.world_size))
        me, size = self.me, self.world_size
        ports = (me.door(rank) if rank == self.rank else me.exit(rank, size) for rank in range(size))
        return tuple(join_host_port("127.0.0.1", port) for port in ports)

    @property
    def store_directory(self) -> Path:
        """Absolute or relative to the working directory, not to the folder."""
        return self._folder / self.store


class OwnerConfig(_RoleConfig):
    """config.yaml of a model owner or a data owner."""

    role: Literal["model-owner", "data-owner"] = Field(description="What this folder is for.")
    name: OwnerName | None = Field(default=None, description="Which data owner this is, where there are several.")
    parties: tuple[PartyAddress, ...] = Field(description="Where the parties are.")
    connect_s: float = Field(default=10, gt=0, le=600, description="Seconds to wait for a party to answer.")
    request_s: float = Field(default=900, gt=0, le=86400, description="Seconds to wait for one request's answer.")
    load_s: float = Field(default=3600, gt=0, le=86400, description="Seconds for a model's upload and its loading.")

    @model_validator(mode="after")
    def _complete(self) -> OwnerConfig:
        _check_ranks(self.parties, self.world_size)
        return self


def read_party_config(path: Path) -> PartyConfig:
    """Read a party's config.yaml (or the one in a folder)."""
    return _read(path, PartyConfig)


def read_owner_config(path: Path) -> OwnerConfig:
    """Read an owner's config.yaml (or the one in a folder)."""
    return _read(path, OwnerConfig)


def _check_ranks(parties: Sequence[PartyAddress], world_size: int) -> None:
    ranks = [party.rank for party in parties]
    if ranks != list(range(world_size)):
        raise ValueError(f"parties must be listed with ranks 0 to {world_size - 1}, in order; found {ranks}")


C = TypeVar("C", bound=_RoleConfig)


class WhoseFolder(BaseModel):
    """Of any role's configuration, what it is for."""

    role: str = ""


def _read(path: Path, model: type[C]) -> C:
    path = path / "config.yaml" if path.is_dir() else path
    try:
        config = read_yaml(path, model)
    except UserError:
        role, known = read_yaml(path, WhoseFolder).role, get_args(model.model_fields["role"].annotation)
        if role in ("party", "model-owner", "data-owner") and role not in known:
            raise UserError(f"{path}: is a {role}'s, and a {' or '.join(known)}'s is needed") from None
        raise
    config._folder = path.parent
    return config
