"""What a role's folder needs beside its configuration, to be started in containers on a host of its own."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from ...cluster.addresses import join_host_port
from ...cluster.configuration import OwnerConfig, PartyConfig
from ...cluster.topology import Topology
from .compose import compose_file
from .services import FOLDER, USER, PartyPorts, data_owner_services, model_owner_service, party_services, services

COMPOSE = "compose.yaml"


def container_files(config: PartyConfig | OwnerConfig, host: str, *, folder_name: str) -> dict[str, str]:
    """File name -> text: compose.yaml, and what it takes from the environment."""
    heading = f"{folder_name} of cluster {config.cluster}, for host {host}. {_HOW_TO}"
    user = USER if os.geteuid() == 0 else os.geteuid()
    group = USER if os.geteuid() == 0 else os.getegid()
    return {
        COMPOSE: compose_file(services(config), heading),
        ".env": _ENV.format(cluster=config.cluster, name=folder_name, user=user, group=group),
    }


def shipped_files() -> dict[str, str]:
    """The files in compose/ for a host each: what is rendered, with variables where a topology has numbers."""
    ports = PartyPorts(
        grpc="${FREEDIV_GRPC_PORT:-7100}",
        doors=("${FREEDIV_DOORS:-7110-7112}",),
        metrics=("${FREEDIV_METRICS_PORT:-7120}", "${FREEDIV_GATEWAY_METRICS_PORT:-7116}"),
    )
    roles = {
        "party": party_services(ports, gateway=True, threads="${FREEDIV_THREADS:-1}"),
        "model-owner": (model_owner_service(),),
        "data-owner": data_owner_services(),
    }
    return {
        f"{role}.yaml": compose_file(found, _SHIPPED.format(role=role), f"${{FREEDIV_FOLDER:-../deployment/{example}}}")
        for (role, found), example in zip(roles.items(), ("party-0", "model-owner", "data-owner"), strict=True)
    }


def give_to_container_user(folder: Path) -> None:
    """Where root renders, give the folder to the user of the images; any other user's stays that user's."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)


def targets(topology: Topology) -> str:
    """What Prometheus scrapes, as a file for its `file_sd_configs`."""
    size = topology.world_size
    entries = []
    for party in topology.by_rank:
        host, labels = party.metrics_host or party.host, {"cluster": topology.cluster, "party": str(party.rank)}
        entries.append({"targets": [join_host_port(host, party.metrics_port)], "labels": labels | {"job": "party"}})
        if topology.has_gateway:
            address = join_host_port(host, party.gateway_metrics_port(size))
            entries.append({"targets": [address], "labels": labels | {"job": "gateway"}})
    return "# What Prometheus scrapes.\n" + yaml.safe_dump(entries, sort_keys=False)


_HOW_TO = f"""\
Start it here, alone:

  docker compose up --detach          (docker-compose 1.29 does as well)
  docker compose ps; docker compose logs; docker compose down

If there is no key.pem yet, make it here, and give request.pem, which is public, to whoever renders; it comes back as
certificate.pem:

  docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:{FOLDER}" freediv request {FOLDER}"""
_SHIPPED = """\
A {role} on a host of its own, where its folder is (FREEDIV_FOLDER). Rendered folders hold the same as compose.yaml,
with the numbers of their topology; this file takes them from the environment. FREEDIV_USER is its owner, as UID:GID.

Made from orchestrator/freediv/deploy/containers/services.py by `make compose-files`."""
_ENV = """\
# Docker Compose reads this. The containers run as the owner of this folder, who alone can read key.pem.
COMPOSE_PROJECT_NAME=freediv-{cluster}-{name}
FREEDIV_USER={user}:{group}
"""
