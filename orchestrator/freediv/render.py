"""From a topology to a folder for each role, with nothing in it that belongs to another role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from .containers.folders import container_files, give_to_container_user, targets
from .containers.gateway import CONFIG as GATEWAY_CONFIG
from .containers.gateway import gateway_config
from .containers.kubernetes import for_kubernetes, manifests, on_volume
from .errors import UserError
from .pki import Authority
from .roles.config import (
    OwnerConfig,
    PartyAddress,
    PartyConfig,
    Peer,
    read_owner_config,
    read_party_config,
)
from .roles.identity import Role
from .topology import PartyPlace, Topology
from .yaml_file import read_yaml, to_yaml

AUTHORITY = "authority"
TOPOLOGY = "topology.yaml"
MONITORING = "monitoring"


@dataclass(frozen=True)
class Rendered:
    """What a rendering wrote: the roles' folders, and older ones that the topology has no role for any more.

    `without_certificate` are those that wait for a request from their host.
    """

    directory: Path
    folders: tuple[Path, ...]
    left_over: tuple[Path, ...]
    without_certificate: tuple[Path, ...] = ()


def render(topology: Topology, directory: Path) -> Rendered:
    """Write `directory/party-0`, ..., `model-owner` and `data-owner` (or one `data-owner-NAME` for each name).

    Each holds `config.yaml`, `ca.pem`, `certificate.pem` and `key.pem`; where the topology names hosts, also what
    starts it in containers there, and with `keys: hosts` no key. The authority that signs stays in
    `directory/authority`. Rendering again keeps keys, stores and logs, and signs the requests that came in.

    Raises:
        UserError: the directory holds something else, or another cluster, or cannot be written.
    """
    try:
        return _render(topology, directory)
    except OSError as error:
        raise UserError(f"{error.filename or directory}: cannot be written ({error.strerror})") from None


def _render(topology: Topology, directory: Path) -> Rendered:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file; give a directory to render into")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / AUTHORITY).is_dir():
        raise UserError(f"{directory}: holds files that are not a rendering; give an empty or a new directory")
    authority = Authority.open(directory / AUTHORITY, topology.cluster)
    _write(directory / TOPOLOGY, to_yaml(topology, "The topology that this directory was rendered from."))
    folders, waiting = [], []
    for role, names, config in _roles(topology):
        folder = directory / str(role).replace("/", "-")
        if not authority.issue(folder, role, names, on_request=topology.keys == "hosts"):
            waiting.append(folder)
        heading = _PARTY_HEADING if role.kind == "party" else _OWNER_HEADING
        _write(folder / "config.yaml", to_yaml(config, heading.format(role=role, cluster=topology.cluster)))
        if isinstance(config, PartyConfig) and config.gateway:
            _write(folder / GATEWAY_CONFIG, gateway_config(config))
        host = topology.host_of(role)
        if host is not None:
            for name, text in container_files(config, host.name, folder_name=folder.name).items():
                _write(folder / name, text)
            give_to_container_user(folder)
        folders.append(folder)
    if topology.monitoring is not None:
        (directory / MONITORING).mkdir(exist_ok=True)
        _write(directory / MONITORING / "targets.yaml", targets(topology))
        folders.append(directory / MONITORING)
    left_over = {path.parent for path in directory.glob("*/config.yaml")} - set(folders)
    return Rendered(directory, tuple(folders), tuple(sorted(left_over)), tuple(waiting))


def _roles(topology: Topology) -> Iterator[tuple[Role, tuple[str, ...], PartyConfig | OwnerConfig]]:
    """Every role, the names that it is reached by, and what it has to know."""
    for place in topology.by_rank:
        names = (place.host, *filter(None, (place.link_host, place.metrics_host)))
        yield Role(topology.cluster, "party", rank=place.rank), names, party_config(topology, place)
    for role, _ in topology.owners():
        yield role, (), owner_config(topology, role)


def render_kubernetes(topology: Topology, directory: Path) -> Rendered:
    """Render, and write into each party's folder `kubernetes.yaml`, which its operator applies.

    Raises:
        UserError: as `render` does.
    """
    topology = for_kubernetes(topology)
    rendered = render(topology, directory)
    for place in topology.by_rank:
        folder = directory / f"party-{place.rank}"
        config = on_volume(party_config(topology, place))
        heading = _PARTY_HEADING.format(role=f"party/{place.rank}", cluster=topology.cluster)
        certificates = [path for path in (folder / "ca.pem", folder / "certificate.pem") if path.is_file()]
        files = {"config.yaml": to_yaml(config, heading)} | {path.name: path.read_text() for path in certificates}
        key = None if topology.keys == "hosts" else (folder / "key.pem").read_text()
        _write(folder / "kubernetes.yaml", manifests(config, files, key))
    return rendered


def owner_folder(directory: Path, role: str, name: str | None = None) -> Path:
    """The folder of an owner: the directory itself if it is one, else the one in a rendered directory.

    Args:
        directory: a rendered directory, or the folder of that role.
        role: `model-owner` or `data-owner`.
        name: of a data owner, where there are several.

    Raises:
        UserError: there is none, or there are several and none was named.
    """
    found = owner_folders(directory, role, name)
    if len(found) > 1:
        raise UserError(f"{directory}: holds several {role}s; give the folder of one: {', '.join(map(str, found))}")
    return found[0]


def owner_folders(directory: Path, role: str, name: str | None = None) -> list[Path]:
    """All that `owner_folder` could choose from.

    Raises:
        UserError: there is none.
    """
    if (directory / "config.yaml").is_file():
        return [directory]
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; make one with `freediv render`")
    found = sorted(path.parent for path in directory.glob(f"{role}*/config.yaml"))
    if name is not None:
        found = [path for path in found if path.name == f"{role}-{name}"]
    if not found:
        raise UserError(
            f"{directory}: holds no folder of a {role.replace('-', ' ')}{f' called {name}' if name else ''}"
        )
    return found


def read_any_config(directory: Path) -> PartyConfig | OwnerConfig:
    """The configuration in a role's folder, or that of the lowest party in a rendered directory."""
    if (directory / "config.yaml").is_file():
        kind = read_yaml(directory / "config.yaml", _Kind).role
        return read_party_config(directory) if kind == "party" else read_owner_config(directory)
    found = sorted(directory.glob("party-*/config.yaml"))
    if not found:
        raise UserError(
            f"{directory}: is neither a rendered directory nor a role's folder; make one with `freediv render`"
        )
    return read_party_config(found[0])


class _Kind(BaseModel):
    """Of any role's configuration, what it is for."""

    role: str = ""


def party_config(topology: Topology, place: PartyPlace) -> PartyConfig:
    """What a party has to know."""
    return PartyConfig(
        **dict(topology.agreement()),
        rank=place.rank,
        listen=place.listen_address,
        metrics_listen=place.metrics_host,
        metrics_port=place.metrics_port,
        gateway=topology.has_gateway,
        threads=place.threads,
        parties=tuple(
            Peer(rank=p.rank, host=p.host, grpc_port=p.grpc_port, link_host=p.link_host, link_port=p.link_port)
            for p in topology.by_rank
        ),
        limits=topology.limits,
        batching=topology.batching,
        quota=topology.quota,
        quotas={owner.name: owner.quota for owner in topology.data_owners if owner.name and owner.quota},
    )


def owner_config(topology: Topology, role: Role) -> OwnerConfig:
    """What an owner has to know: not the ports of the link, nor of metrics."""
    assert role.kind != "party"
    parties = (PartyAddress(rank=p.rank, host=p.host, grpc_port=p.grpc_port) for p in topology.by_rank)
    return OwnerConfig(**dict(topology.agreement()), role=role.kind, name=role.name, parties=tuple(parties))


def _write(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.touch(mode=0o600 if path.name == "kubernetes.yaml" else 0o644)
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


_PARTY_HEADING = """\
freediv: {role} of cluster {cluster}. Start it with `freediv party --config` and this file.

Everything here is public within the cluster; key.pem beside it is not: it stays on this party's host.
Certificates expire after 13 months; rendering again renews them and keeps the keys."""

_OWNER_HEADING = """\
freediv: {role} of cluster {cluster}.

Everything here is public within the cluster; key.pem beside it is not: whoever has it acts as this owner."""
