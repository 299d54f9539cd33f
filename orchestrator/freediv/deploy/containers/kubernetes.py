"""Manifests for Kubernetes: a namespace for each party and each data owner's door, which its operator applies alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ...cluster.configuration import OwnerConfig, PartyConfig
from ...cluster.topology import Topology
from ...errors import UserError
from .gateway import CONFIG as GATEWAY_CONFIG
from .gateway import gateway_config
from .services import (
    DOOR_PORT,
    FOLDER,
    HEALTH_INTERVAL_S,
    HEALTH_TIMEOUT_S,
    USER,
    Service,
    door_service,
    party_ports,
    services,
)

Manifest = dict[str, Any]
_NAME, _DOOR = "party", "door"
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_NAMES: list[Manifest] = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
_HERE = "/given"
_VOLUME, _VOLUME_SIZE = "volume", "10Gi"


def namespace(cluster: str, rank: int) -> str:
    """Of a party."""
    return f"freediv-{cluster}-party-{rank}"


def for_kubernetes(topology: Topology) -> Topology:
    """The same cluster with every party behind its Service's name, and a gateway beside it, and no hosts.

    Raises:
        UserError: a port that a gateway takes is another's.
    """
    parties = [
        party.model_dump(exclude={"link_host", "metrics_host", "listen"})
        | {"host": f"{_NAME}.{namespace(topology.cluster, party.rank)}.svc"}
        for party in topology.parties
    ]
    content = topology.model_dump(exclude={"hosts", "parties", "model_owner", "data_owners", "monitoring", "gateway"})
    owners = [{"name": owner.name, "quota": owner.quota} for owner in topology.data_owners if owner.name is not None]
    try:
        return Topology.model_validate(content | {"parties": parties, "data_owners": owners, "gateway": True})
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"in Kubernetes every party has a gateway: {told}; give it another port") from None


def on_volume(config: PartyConfig) -> PartyConfig:
    """The same party with its store in a directory of its own on the mounted volume, whose root is not its own."""
    return config.model_copy(update={"store": Path(_VOLUME, config.store)})


def manifests(config: PartyConfig, files: dict[str, str], key: str | None) -> str:
    """One file for `kubectl apply`.

    Args:
        config: the party's, with a gateway.
        files: its config.yaml, ca.pem and certificate.pem, as text.
        key: its private key in PEM; None where that is made elsewhere, and put into the Secret by its operator.
    """
    labels = {"app.kubernetes.io/name": "freediv", "freediv/cluster": config.cluster, "freediv/party": str(config.rank)}
    place = {"namespace": namespace(config.cluster, config.rank), "labels": labels}
    given = files | {GATEWAY_CONFIG: gateway_config(config)}
    every: list[Manifest] = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": place["namespace"],
                "labels": labels | {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _NAME, **place}, "data": given},
        _service(config, place, labels),
        _stateful_set(config, place, labels),
        _network_policy(config, place, labels),
    ]
    if key is not None:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _NAME, **place}, "type": "Opaque"}
        every.insert(1, secret | {"stringData": {"key.pem": key}})
    heading = _HEADING.format(rank=config.rank, cluster=config.cluster, **place) + (
        "" if key else _NO_KEY.format(**place)
    )
    return heading + yaml.safe_dump_all(every, sort_keys=False, width=120)


def door_namespace(config: OwnerConfig) -> str:
    """Of a data owner's door."""
    return f"freediv-{config.cluster}-data-owner" + (f"-{config.name}" if config.name else "")


def door_manifests(config: OwnerConfig, files: dict[str, str], key: str | None, token: str) -> str:
    """One file for `kubectl apply`: the door, which pods of its own namespace ask, with a token.

    Args:
        config: the data owner's.
        files: its config.yaml, ca.pem and certificate.pem, as text.
        key: its private key in PEM; None where that is made elsewhere, and put into the Secret by its owner.
        token: that callers show.
    """
    labels = {"app.kubernetes.io/name": "freediv-door", "freediv/cluster": config.cluster}
    place = {"namespace": door_namespace(config), "labels": labels}
    policed = labels | {"pod-security.kubernetes.io/enforce": "restricted"}
    port = {"name": "http", "port": DOOR_PORT, "targetPort": DOOR_PORT}
    meta = {"name": _DOOR, **place}
    every: list[Manifest] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place["namespace"], "labels": policed}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": files},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": [port]}},
        _door_deployment(config, meta, labels),
        _door_policy(config, meta, labels),
    ]
    if key is not None:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"}
        every.insert(1, secret | {"stringData": {"key.pem": key, "token": token}})
    heading = _DOOR_HEADING.format(cluster=config.cluster, port=DOOR_PORT, **place)
    heading += "" if key else _NO_DOOR_KEY.format(**place)
    return heading + yaml.safe_dump_all(every, sort_keys=False, width=120)


def _door_deployment(config: OwnerConfig, meta: Manifest, labels: dict[str, str]) -> Manifest:
    published = f"{_DOOR}.{door_namespace(config)}.svc:{DOOR_PORT}"
    door = door_service(published, "--token-file", f"{FOLDER}/token")
    sources = [{"configMap": {"name": _DOOR}}, {"secret": {"name": _DOOR}}]
    container: Manifest = {
        "name": "door",
        "image": door.image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(door.command),
        "ports": [{"containerPort": DOOR_PORT}],
        "securityContext": _CONTAINED,
        "resources": {"limits": {"cpu": str(door.cpus), "memory": str(door.memory_bytes)}},
        "volumeMounts": [
            {"name": "folder", "mountPath": FOLDER},
            {"name": "temporary", "mountPath": "/tmp"},  # noqa: S108 (in the container)
        ],
        # Ready while a text would be answered; alive while it listens, or a lost party would have the door restarted.
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": DOOR_PORT},
            "periodSeconds": HEALTH_INTERVAL_S,
            "timeoutSeconds": HEALTH_TIMEOUT_S,
        },
        "livenessProbe": {"tcpSocket": {"port": DOOR_PORT}, "periodSeconds": 10, "failureThreshold": 6},
    }
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": _POD_SECURITY,
        "initContainers": [_files(door)],
        "containers": [container],
        "volumes": [
            {"name": "given", "projected": {"sources": sources}},
            {"name": "folder", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},  # a public word table, too
            {"name": "temporary", "emptyDir": _TEMPORARY},
        ],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def _door_policy(config: OwnerConfig, meta: Manifest, labels: dict[str, str]) -> Manifest:
    """In: pods of this namespace, whose texts are in the clear on the way. Out: the parties' gRPC, and names."""
    namespaces = [namespace(config.cluster, party.rank) for party in config.parties]
    parties = {"matchExpressions": [{"key": _NAMESPACE_NAME, "operator": "In", "values": namespaces}]}
    asked = [{"protocol": "TCP", "port": port} for port in sorted({party.grpc_port for party in config.parties})]
    spec = {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": DOOR_PORT}]}],
        "egress": [{"to": [{"namespaceSelector": parties}], "ports": asked}, {"ports": _NAMES}],
    }
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": spec}


def _service(config: PartyConfig, place: dict[str, Any], labels: dict[str, str]) -> Manifest:
    ports = party_ports(config)
    named = {"grpc": ports.grpc, "metrics": ports.metrics[0], "gateway-metrics": ports.metrics[1]}
    named |= {f"door-{number}": port for number, port in enumerate(ports.doors)}
    entries = [{"name": name, "port": port, "targetPort": port} for name, port in named.items()]
    # Peers look for a party before it is ready: being ready means being linked to them.
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels, "ports": entries}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": _NAME, **place}, "spec": spec}


def _stateful_set(config: PartyConfig, place: dict[str, Any], labels: dict[str, str]) -> Manifest:
    ports = party_ports(config)
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": _POD_SECURITY,
        "initContainers": [_files(services(config)[-1])],
        "containers": [_container(service, config) for service in services(config)],
        "volumes": [
            {"name": "given", "projected": {"sources": [{"configMap": {"name": _NAME}}, {"secret": {"name": _NAME}}]}},
            {"name": "folder", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            *({"name": f"temporary-{one.name}", "emptyDir": _TEMPORARY} for one in services(config)),
        ],
    }
    scrape = {"prometheus.io/scrape": "true", "prometheus.io/port": str(ports.metrics[0])}
    store = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _VOLUME_SIZE}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": _NAME, **place},
        "spec": {
            "serviceName": _NAME,
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": scrape}, "spec": pod},
            "volumeClaimTemplates": [{"metadata": {"name": "store"}, "spec": store}],
        },
    }


def _files(party: Service) -> Manifest:
    """Copies the folder's files: Kubernetes would let the group read a mounted key, which freediv refuses."""
    return {
        "name": "folder",
        "image": party.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", f"umask 077 && cp -L {_HERE}/* {FOLDER}/ && mkdir {FOLDER}/{_VOLUME}"],
        "securityContext": _CONTAINED,
        "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
        "volumeMounts": [
            {"name": "given", "mountPath": _HERE, "readOnly": True},
            {"name": "folder", "mountPath": FOLDER},
        ],
    }


def _container(service: Service, config: PartyConfig) -> Manifest:
    mounts: list[Manifest] = [
        {"name": "folder", "mountPath": FOLDER, "readOnly": True},
        {"name": f"temporary-{service.name}", "mountPath": "/tmp"},  # noqa: S108 (in the container)
    ]
    if service.writes:
        mounts.append({"name": "store", "mountPath": f"{FOLDER}/{_VOLUME}"})
    container: Manifest = {
        "name": service.name,
        "image": service.image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": _CONTAINED,
        "resources": {"limits": {"cpu": str(service.cpus), "memory": str(service.memory_bytes)}},
        "volumeMounts": mounts,
    }
    if service.command:
        container["args"] = list(service.command)
    if service.ports:
        container["ports"] = [{"containerPort": port} for port in service.ports]
    # Linked to the others is ready; alive is that gRPC's port is open, or a lost peer would have this party restarted.
    alive = config.me.grpc_port if service.writes else party_ports(config).metrics[1]
    container["livenessProbe"] = {"tcpSocket": {"port": alive}, "periodSeconds": 10, "failureThreshold": 6}
    if service.health:
        seconds = {"periodSeconds": HEALTH_INTERVAL_S, "timeoutSeconds": HEALTH_TIMEOUT_S}
        container["readinessProbe"] = {"exec": {"command": list(service.health)}, **seconds}
    return container


_POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_TEMPORARY = {"medium": "Memory", "sizeLimit": "256Mi"}
_CONTAINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _network_policy(config: PartyConfig, place: dict[str, Any], labels: dict[str, str]) -> Manifest:
    """In: doors from the peers' namespaces, gRPC from anywhere (certificates decide), metrics from monitoring's."""
    ports = party_ports(config)
    label = _NAMESPACE_NAME
    peers = [namespace(config.cluster, party.rank) for party in config.parties if party.rank != config.rank]
    from_peers = [{"namespaceSelector": {"matchExpressions": [{"key": label, "operator": "In", "values": peers}]}}]
    from_monitoring = [{"namespaceSelector": {"matchLabels": {label: "monitoring"}}}]

    def tcp(numbers: tuple[int | str, ...]) -> list[Manifest]:
        return [{"protocol": "TCP", "port": number} for number in numbers]

    outward = [port for party in config.parties for port in (party.grpc_port, party.door(config.rank))]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": _NAME, **place},
        "spec": {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": from_peers, "ports": tcp(ports.doors)},
                {"ports": tcp((ports.grpc,))},
                {"from": from_monitoring, "ports": tcp(ports.metrics)},
            ],
            "egress": [{"to": from_peers, "ports": tcp(tuple(sorted(set(outward))))}, {"ports": _NAMES}],
        },
    }


_HEADING = """\
# Party {rank} of cluster {cluster}, for its operator: `kubectl apply --filename` this file.
# Pods of other parties' namespaces reach the link's doors, everybody reaches gRPC (which asks for a certificate of the
# cluster), and pods of the namespace `monitoring` the metrics. Owners outside need a way to port grpc of the Service.
"""
_DOOR_HEADING = """\
# The door of a data owner of cluster {cluster}, for that owner: `kubectl apply --filename` this file. Programs in its
# namespace ask http://door.{namespace}.svc:{port}, and show the token of the Secret: `Authorization: Bearer TOKEN`.
"""
_NO_DOOR_KEY = """\
# The private key is not here; put it in first, with a token of your own:
#   kubectl create secret generic door --namespace {namespace} --from-file=key.pem --from-file=token
"""
_NO_KEY = """\
# The private key is not here; put it in first:
#   kubectl create secret generic party --namespace {namespace} --from-file=key.pem
"""
