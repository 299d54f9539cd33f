"""From a topology to a folder for each role, with nothing in it that belongs to another role."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..cluster.certificates import Authority
from ..cluster.configuration import OwnerConfig, PartyAddress, PartyConfig, Peer
from ..cluster.identity import Role
from ..cluster.topology import PartyPlace, Topology
from ..errors import UserError
from ..files import PRIVATE, READABLE, WriteError, make_directory, replace_file
from ..yaml_file import to_yaml
from .containers.folders import container_files, give_to_container_user, targets
from .containers.gateway import CONFIG as GATEWAY_CONFIG
from .containers.gateway import gateway_config
from .containers.kubernetes import door_manifests, for_kubernetes, manifests, on_volume

AUTHORITY = "authority"
TOPOLOGY = "topology.yaml"
MONITORING = "monitoring"
TOKEN = "token"  # noqa: S105 (a file's name)


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
    except WriteError:
        raise
    except OSError as error:
        raise UserError(f"{error.filename or directory}: cannot be written ({error.strerror})") from None


def _render(topology: Topology, directory: Path) -> Rendered:
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file; give a directory to render into")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / AUTHORITY).is_dir():
        raise UserError(f"{directory}: holds files that are not a rendering; give an empty or a new directory")
    make_directory(directory, 0o755)  # so that Prometheus gets to `monitoring`; roles' folders are private
    authority = Authority.open(directory / AUTHORITY, topology.cluster)
    replace_file(
        directory / TOPOLOGY, to_yaml(topology, "The topology that this directory was rendered from."), READABLE
    )
    folders, waiting = [], []
    for role, names, config in _roles(topology):
        folder = directory / str(role).replace("/", "-")
        if not authority.issue(folder, role, names, on_request=topology.keys == "hosts"):
            waiting.append(folder)
        heading = _PARTY_HEADING if role.kind == "party" else _OWNER_HEADING
        replace_file(
            folder / "config.yaml", to_yaml(config, heading.format(role=role, cluster=topology.cluster)), READABLE
        )
        if isinstance(config, PartyConfig) and config.gateway:
            replace_file(folder / GATEWAY_CONFIG, gateway_config(config), READABLE)
        host = topology.host_of(role)
        if host is not None:
            for name, text in container_files(config, host.name, folder_name=folder.name).items():
                replace_file(folder / name, text, READABLE)
            give_to_container_user(folder)
        folders.append(folder)
    if topology.monitoring is not None:
        make_directory(directory / MONITORING, 0o755)
        (directory / MONITORING).chmod(0o755)  # an earlier rendering may have followed the umask
        replace_file(directory / MONITORING / "targets.yaml", targets(topology), READABLE)
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
    """Render, and write `kubernetes.yaml` into each party's folder, and each data owner's, who applies it.

    Raises:
        UserError: as `render` does.
    """
    topology = for_kubernetes(topology)
    rendered = render(topology, directory)
    for place in topology.by_rank:
        folder = directory / f"party-{place.rank}"
        config = on_volume(party_config(topology, place))
        heading = _PARTY_HEADING.format(role=f"party/{place.rank}", cluster=topology.cluster)
        files, key = _given(folder, to_yaml(config, heading))
        replace_file(folder / "kubernetes.yaml", manifests(config, files, key), PRIVATE)
    for role, _ in topology.owners():
        if role.kind == "data-owner":
            folder = directory / str(role).replace("/", "-")
            owner = owner_config(topology, role)
            files, key = _given(folder, to_yaml(owner, _OWNER_HEADING.format(role=role, cluster=topology.cluster)))
            manifest = door_manifests(owner, files, key, _token(folder / TOKEN))
            replace_file(folder / "kubernetes.yaml", manifest, PRIVATE)
    return rendered


def _given(folder: Path, config: str) -> tuple[dict[str, str], str | None]:
    """What a role's pod is given: its files, and its key where that was made here."""
    certificates = [path for path in (folder / "ca.pem", folder / "certificate.pem") if path.is_file()]
    files = {"config.yaml": config} | {path.name: path.read_text(encoding="utf-8") for path in certificates}
    key = folder / "key.pem"
    return files, key.read_text(encoding="utf-8") if key.is_file() else None


def _token(path: Path) -> str:
    """Of a door; the same at every rendering."""
    if not path.is_file():
        replace_file(path, f"{secrets.token_hex(32)}\n".encode(), PRIVATE)
    return path.read_text(encoding="utf-8").strip()


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


_PARTY_HEADING = """\
freediv: {role} of cluster {cluster}. Start it with `freediv party --config` and this file.

Everything here is public within the cluster; key.pem beside it is not: it stays on this party's host.
Certificates expire after 13 months; rendering again renews them and keeps the keys."""

_OWNER_HEADING = """\
freediv: {role} of cluster {cluster}.

Everything here is public within the cluster; key.pem beside it is not: whoever has it acts as this owner."""
