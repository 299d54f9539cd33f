"""The parties of a rendered directory in containers on their hosts, through each host's Docker engine.

For one operator who may reach them all. The containers are those of each folder's compose.yaml; the folder itself is
copied into a volume on the host, so nothing has to be there beforehand but the images.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound, NotFound
from docker.types import Healthcheck, Ulimit

from ...cluster.configuration import PartyConfig, read_party_config
from ...cluster.identity import Role
from ...cluster.topology import HostPlace, read_topology
from ...errors import UserError
from ..render import TOPOLOGY
from .engines import open_engine
from .folders import COMPOSE
from .services import FOLDER, HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S, USER, Service, services

_SECOND = 1_000_000_000
_LABEL = "freediv.folder"
_NOT_COPIED = {COMPOSE, ".env", "kubernetes.yaml", "party.log", "party.pid"}

States = dict[str, str]
"""Host -> what its party is at."""


@dataclass(frozen=True)
class HostedParty:
    """One party, its folder here, and its host."""

    folder: Path
    config: PartyConfig
    host: HostPlace

    @property
    def name(self) -> str:
        """Of its volume and its network, and the beginning of its containers' names."""
        return f"freediv-{self.config.cluster}-{self.folder.name}"

    def container(self, service: Service) -> str:
        """A container's name."""
        return f"{self.name}-{service.name}"


class HostedDeployment:
    """All parties of a rendered directory whose topology names hosts."""

    def __init__(self, parties: tuple[HostedParty, ...]) -> None:
        self.parties = parties
        with ThreadPoolExecutor(len(parties)) as pool:
            self._engines = list(pool.map(lambda party: open_engine(party.host.engine), parties))

    @classmethod
    def open(cls, directory: Path) -> HostedDeployment | None:
        """Reach the engines of all hosts; None where the directory's topology names no hosts.

        Raises:
            UserError: a host has no engine in the topology, or its engine does not answer.
        """
        if not (directory / TOPOLOGY).is_file():
            return None
        topology = read_topology(directory / TOPOLOGY)
        parties = []
        for place in topology.by_rank:
            role = Role(topology.cluster, "party", rank=place.rank)
            host = topology.host_of(role)
            if host is None:
                return None
            if host.engine is None:
                raise UserError(
                    f"{directory / TOPOLOGY}: host {host.name} has no `engine`; give one, "
                    "or start the folder there with `docker compose up`"
                )
            folder = directory / f"party-{place.rank}"
            parties.append(HostedParty(folder, read_party_config(folder), host))
        return cls(tuple(parties))

    def start(self, timeout_s: float, on_states: Callable[[States], None] = lambda states: None) -> None:
        """Start all parties, each on its host, and wait until they are linked.

        Raises:
            UserError: an image is missing, a port is in use, or the parties are not linked in time; names the host.
        """
        with ThreadPoolExecutor(len(self.parties)) as pool:
            list(pool.map(self._start, self.parties, self._engines))
        deadline = time.monotonic() + timeout_s
        while True:
            states = self.states()
            on_states(states)
            if all(state == "healthy" for state in states.values()):
                return
            if time.monotonic() > deadline:
                described = ", ".join(f"{host}: {state}" for host, state in states.items())
                raise UserError(f"not connected after {timeout_s:g} s ({described}); see `freediv logs`")
            time.sleep(1)

    def states(self) -> States:
        """Of each host, what its party is at: healthy is linked to the others."""
        found = {}
        for party, engine in zip(self.parties, self._engines, strict=True):
            try:
                state = engine.containers.get(party.container(services(party.config)[-1])).attrs["State"]
                found[party.host.name] = state.get("Health", {}).get("Status", state["Status"])
            except NotFound:
                found[party.host.name] = "not started"
        return found

    def logs(self, rank: int | None, lines: int) -> Iterator[tuple[str, str]]:
        """Party and line, of the last `lines` lines of each of its containers.

        Raises:
            UserError: there is no such party.
        """
        if rank is not None and rank not in range(len(self.parties)):
            raise UserError(f"there is no party {rank}")
        for party, engine in zip(self.parties, self._engines, strict=True):
            for service in services(party.config) if rank in (None, party.config.rank) else ():
                try:
                    output: bytes = engine.containers.get(party.container(service)).logs(tail=lines)
                except NotFound:
                    continue
                for line in output.decode(errors="replace").splitlines():
                    yield f"{party.folder.name} {service.name}", line

    def stop(self, *, volumes: bool = False) -> int:
        """Remove all containers and networks, and the volumes if that is asked for; how many containers there were."""
        with ThreadPoolExecutor(len(self.parties)) as pool:
            return sum(pool.map(lambda party, engine: _remove(party, engine, volumes), self.parties, self._engines))

    def _start(self, party: HostedParty, engine: docker.DockerClient) -> None:
        try:
            _remove(party, engine, volumes=False)
            _copy_folder(party, engine)
            engine.networks.create(party.name, labels={_LABEL: party.name})
            for service in services(party.config):
                container = engine.containers.create(**_container(party, service))
                container.start()
        except ImageNotFound as error:
            raise UserError(f"host {party.host.name}: {error.explanation}; build or load the images there") from None
        except DockerException as error:
            _remove(party, engine, volumes=False)
            reason = getattr(error, "explanation", None) or error
            raise UserError(f"host {party.host.name}: {reason}") from None


def _container(party: HostedParty, service: Service) -> dict[str, Any]:
    """What `compose.yaml` says of a service, in the Docker SDK's terms."""
    arguments: dict[str, Any] = {
        "image": service.image,
        "command": list(service.command) or None,
        "name": party.container(service),
        "labels": {_LABEL: party.name},
        "volumes": {party.name: {"bind": FOLDER, "mode": "rw" if service.writes else "ro"}},
        "init": True,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": {"/tmp": "mode=1777,size=256m"},  # noqa: S108 (in the container)
        "pids_limit": 512,
        "ulimits": [Ulimit(name="core", soft=1, hard=1)],
        "mem_limit": service.memory_bytes,
        "nano_cpus": int(service.cpus) * 1_000_000_000,
        "restart_policy": {"Name": "unless-stopped"},
    }
    if service.beside is None:
        arguments |= {"network": party.name, "ports": {f"{port}/tcp": port for port in service.ports}}
    else:
        beside = next(one for one in services(party.config) if one.name == service.beside)
        arguments["network_mode"] = f"container:{party.container(beside)}"
    if service.health:
        arguments["healthcheck"] = Healthcheck(
            test=["CMD", *service.health],
            interval=HEALTH_INTERVAL_S * _SECOND,
            timeout=HEALTH_TIMEOUT_S * _SECOND,
            retries=3,
            start_period=120 * _SECOND,
        )
    return arguments


def _copy_folder(party: HostedParty, engine: docker.DockerClient) -> None:
    """Put the folder into a volume of the same name, for the images' user alone."""
    engine.volumes.create(party.name, labels={_LABEL: party.name})
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in sorted(party.folder.iterdir()):
            if path.is_file() and path.name not in _NOT_COPIED:
                tar.add(path, path.name, filter=_owned)
    image = services(party.config)[-1].image
    carrier = engine.containers.create(image, volumes={party.name: {"bind": FOLDER, "mode": "rw"}})
    try:
        carrier.put_archive(FOLDER, content.getvalue())
    finally:
        carrier.remove()


def _owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = USER
    entry.uname = entry.gname = ""
    return entry


def _remove(party: HostedParty, engine: docker.DockerClient, volumes: bool) -> int:
    selected: dict[str, Any] = {"filters": {"label": f"{_LABEL}={party.name}"}}
    containers = engine.containers.list(all=True, **selected)
    # A container goes before the one whose network it is in.
    for container in sorted(containers, key=lambda one: not str(one.attrs["HostConfig"]["NetworkMode"]).count(":")):
        container.stop(timeout=15)
        container.remove()
    for network in engine.networks.list(**selected):
        network.remove()
    for volume in engine.volumes.list(**selected) if volumes else ():
        volume.remove()
    return len(containers)
