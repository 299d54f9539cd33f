"""Compose files that start the containers of a role's folder, for `docker compose` and for docker-compose 1.29."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from .services import FOLDER, GATEWAY_IMAGE, HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S, IMAGE, USER, Service

_VARIABLES = {IMAGE: "${FREEDIV_IMAGE:-freediv}", GATEWAY_IMAGE: "${FREEDIV_GATEWAY_IMAGE:-freediv-gateway}"}


def compose_file(services: Sequence[Service], heading: str, folder: str = ".") -> str:
    """The file as text.

    Args:
        services: in the order in which they start; one that shares another's network waits until that is healthy.
        heading: what it is and how to start it; becomes a comment.
        folder: the role's folder, from where the file lies.
    """
    lines = [*_comment(heading, ""), "", "services:"]
    for service in services:
        lines += [*_comment(service.purpose, "  "), *_block({service.name: _entry(service, folder)}), ""]
    lines += ["networks:", "  default: {}"]
    return "\n".join(lines) + "\n"


def _entry(service: Service, folder: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"image": _VARIABLES[service.image], "pull_policy": "never"}
    if service.command:
        entry["command"] = list(service.command)
    if service.profile:
        entry["profiles"] = [service.profile]
    if service.beside is not None:
        entry["depends_on"] = {service.beside: {"condition": "service_healthy"}}
        entry["network_mode"] = f"service:{service.beside}"
    if service.ports:
        place = "127.0.0.1:" if service.local else ""
        entry["ports"] = [f"{place}{port}:{port}" for port in service.ports]
    entry |= {
        "volumes": [f"{folder}:{FOLDER}" + ("" if service.writes else ":ro")],
        # The owner of the folder, whose private key nobody else can read.
        "user": f"${{FREEDIV_USER:-{USER}:{USER}}}",
        "init": True,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp:mode=1777,size=256m"],  # noqa: S108 (in the container, of its own)
        "pids_limit": 512,
        # A core would hold shares. Of 1 byte, because 0 does not stop one that goes into a program (core(5)).
        "ulimits": {"core": 1},
        "mem_limit": service.memory_bytes,
        "cpus": service.cpus,
        "restart": "unless-stopped" if service.stays else "no",
    }
    if service.health:
        entry["healthcheck"] = {
            "test": ["CMD", *service.health],
            "interval": f"{HEALTH_INTERVAL_S}s",
            "timeout": f"{HEALTH_TIMEOUT_S}s",
            "retries": 3,
            "start_period": "120s",
        }
    return entry


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}".rstrip() for line in text.splitlines()]


def _block(value: dict[str, Any]) -> list[str]:
    text = yaml.safe_dump(value, sort_keys=False, width=120)
    return [f"  {line}" for line in text.splitlines()]
