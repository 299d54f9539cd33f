"""What a role's folder says: its place in the cluster and what the whole cluster agreed on."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ..yaml_file import read_yaml

CLUSTER_NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
WORLD_SIZE = {"ABY3": 3, "SEMI2K": 2}
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def _host(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        if not _HOST.fullmatch(value) or value.replace(".", "").isdigit():
            raise ValueError(f"'{value}' is neither a host name nor an IP address") from None
        return value.lower()


def _refuse_fm32(value: Any) -> Any:
    if value == "FM32":
        raise ValueError("FM32 is refused: SPU's matrix products crash in a 32-bit ring; use FM64")
    return value


Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
OwnerName = Annotated[str, Field(pattern=CLUSTER_NAME)]


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Agreement(Strict):
    """What all roles of a cluster must agree on. Everything in it is public."""

    cluster: str = Field(
        pattern=CLUSTER_NAME,
        description="Name of the cluster: lower-case letters, digits and hyphens. Certificates carry it.",
    )
    protocol: Literal["ABY3", "SEMI2K"] = Field(
        default="ABY3", description="ABY3: three parties, any one of them learns nothing. SEMI2K: two parties."
    )
    beaver: Literal["trusted-first-party"] | None = Field(
        default=None,
        description="SEMI2K only: where its triples come from. Rank 0 makes them, and could learn everything.",
    )
    field: Annotated[Literal["FM64"], BeforeValidator(_refuse_fm32)] = Field(
        default="FM64", description="The ring: integers modulo 2^64."
    )
    fraction_bits: int = Field(default=18, ge=10, le=24, description="Bits after the binary point of a shared number.")
    products: Literal["spu", "spu-blocks", "shares"] = Field(
        default="shares",
        description="Where matrix products are done: on the shares by the party's own worker (ABY3), or by SPU; "
        "spu-blocks: all heads in one product, fewer messages for more work.",
    )
    output: Literal["label", "logits"] = Field(
        default="label",
        description="What a data owner receives: the label alone, or the logits, which tell more about the model.",
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
            return {"products": "spu"} | given
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
        return self

    @property
    def world_size(self) -> int:
        """Number of parties."""
        return WORLD_SIZE[self.protocol]

    def buckets_of(self, positions: int) -> tuple[int, ...]:
        """The buckets that a model with so many positions can use; all positions, if it is shorter than any."""
        return tuple(bucket for bucket in self.buckets if bucket <= positions) or (positions,)

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


BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Sizes, in sentences, of runs that requests share: each is compiled for once, so there are few."""


class Batching(Strict):
    """Requests of one length that wait at the same time are run together, for little more than the time of one."""

    size: int = Field(default=8, description="most sentences of a run that requests share; 1: none do")
    wait_ms: int = Field(default=0, ge=0, le=60_000, description="milliseconds to wait for more, where there is room")
    lanes: int = Field(
        default=1,
        ge=1,
        le=8,
        description="parts that a run of several sentences is computed in side by side, so that a party computes while "
        "messages travel; worth it between hosts, not on one",
    )

    def check(self, agreement: Agreement) -> None:
        """Refuse what the agreed engine cannot do.

        Raises:
            ValueError: names the key.
        """
        if self.lanes > 1 and agreement.products != "shares":
            raise ValueError("batching.lanes: more than one needs `products: shares`")

    @field_validator("size")
    @classmethod
    def _on_the_ladder(cls, size: int) -> int:
        if size not in BATCHES:
            raise ValueError(f"is one of {', '.join(map(str, BATCHES))}, not {size}")
        return size


class Quota(Strict):
    """How much one data owner may ask. Without a number: as much as it likes."""

    sentences_per_minute: int | None = Field(
        default=None, ge=1, description="sentences in a minute; a request that comes too soon is told when to come back"
    )
    budget: int | None = Field(default=None, ge=1, description="sentences that one model answers, ever")


class PartyAddress(Strict):
    """Where a party is reached."""

    rank: int = Field(ge=0, le=2, strict=True)
    host: Host
    grpc_port: Port


class Peer(PartyAddress):
    """Where a party is reached by its peers, too; with a gateway, `link_port` is its first door's."""

    link_host: Host | None = None
    link_port: Port

    @property
    def link_address(self) -> str:
        """`host:port` of the SPU link."""
        return join_host_port(self.link_host or self.host, self.link_port)

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
    listen: Host = Field(description="Address that this party's gRPC and metrics ports listen on.")
    metrics_listen: Host | None = Field(default=None, description="Address of /metrics, where it is another.")
    metrics_port: Port = Field(description="Port of /metrics (plain HTTP; keep it for monitoring).")
    gateway: bool = Field(
        default=False,
        description="Whether a gateway beside this party carries the link: SPU then listens on loopback only.",
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

    @model_validator(mode="after")
    def _complete(self) -> PartyConfig:
        _check_ranks(self.parties, self.world_size)
        self.batching.check(self)
        if self.rank >= self.world_size:
            raise ValueError(f"rank {self.rank} does not exist among {self.world_size} parties")
        return self

    @property
    def me(self) -> Peer:
        """This party's own entry."""
        return self.parties[self.rank]

    def reach(self, rank: int) -> Peer:
        """Where a party is reached from here: this one without leaving the machine."""
        peer = self.parties[rank]
        return peer.model_copy(update={"host": _local_address(self.listen)}) if rank == self.rank else peer

    def quota_of(self, owner: str | None) -> Quota:
        """What a data owner of this name may ask."""
        return self.quota if owner is None else self.quotas.get(owner, self.quota)

    def link_addresses(self) -> tuple[str, ...]:
        """Where SPU finds every party from here, by rank; at this party's own rank, where it listens."""
        if not self.gateway:
            return tuple(peer.link_address for peer in self.parties)
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


def join_host_port(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _local_address(listen: str) -> str:
    """Where something that listens on this address is reached on its own machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)  # noqa: S104


def _check_ranks(parties: Sequence[PartyAddress], world_size: int) -> None:
    ranks = [party.rank for party in parties]
    if ranks != list(range(world_size)):
        raise ValueError(f"parties must be listed with ranks 0 to {world_size - 1}, in order; found {ranks}")


C = TypeVar("C", bound=_RoleConfig)


def _read(path: Path, model: type[C]) -> C:
    path = path / "config.yaml" if path.is_dir() else path
    config = read_yaml(path, model)
    config._folder = path.parent
    return config
