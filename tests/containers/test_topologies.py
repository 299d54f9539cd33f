"""Topologies with hosts: what is refused, and what a rendering writes for each host."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from freediv.cluster.topology import read_topology
from freediv.deploy.containers.folders import shipped_files
from freediv.deploy.render import render
from freediv.errors import UserError

from .conftest import REPOSITORY, freediv

LAB: dict[str, Any] = yaml.safe_load((REPOSITORY / "configs" / "three-hosts.yaml").read_text())


def written(directory: Path, content: dict[str, Any]) -> Path:
    path = directory / "topology.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def changed(**changes: Any) -> dict[str, Any]:
    """The lab's topology with `key__0__key` set to another value."""
    content = copy.deepcopy(LAB)
    for path, value in changes.items():
        *steps, last = [int(step) if step.isdigit() else step for step in path.split("__")]
        place = content
        for step in steps:
            place = place[step]
        place[last] = value
    return content


REFUSED = {
    "duplicate ranks": (changed(parties__1__rank=0), "parties[1].rank: rank 0 is already parties[0]'s"),
    "two parties for ABY3": (changed(parties=LAB["parties"][:2]), "parties: ABY3 needs 3, 2 are listed"),
    "an unknown host": (changed(parties__2__host="omega"), "parties[2].host: there is no host 'omega'"),
    "an unknown host of an owner": (changed(data_owners__0__host="omega"), "data_owners[0].host: there is no host"),
    "an unknown host of monitoring": (changed(monitoring__host="omega"), "monitoring.host: there is no host 'omega'"),
    "a port clash": (
        changed(parties__1__host="alpha"),
        "parties[1].grpc_port: port 7100 on alpha is already parties[0].grpc_port",
    ),
    "a port among the gateway's": (
        changed(parties__0__metrics_port=7113),
        "parties[0].link_port (+3, for its gateway): port 7113 on alpha is already parties[0].metrics_port",
    ),
    "a party that is also the data owner": (
        changed(data_owners__0__host="beta"),
        "data_owners[0].host: beta also runs parties[1], whose operator would see",
    ),
    "a party that is also the model owner": (changed(model_owner__host="beta"), "model_owner.host: beta also runs"),
    "an owner without a host": (changed(model_owner={}), "model_owner.host: is missing"),
    "a host twice": (changed(hosts__1__name="alpha"), "hosts[1].name: alpha is already hosts[0]'s"),
    "a host on loopback": (changed(hosts__1__address="127.0.0.1"), "hosts[1].address: 127.0.0.1 is another machine"),
    "an engine by no known way": (changed(hosts__1__engine="ftp://beta"), "hosts[1].engine"),
    "a host without hosts": (changed(hosts=[]), "model_owner.host: there are no hosts"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_topology_is_refused_with_the_path_of_what_is_wrong(what: str, tmp_path: Path) -> None:
    content, message = REFUSED[what]
    with pytest.raises(UserError) as error:
        read_topology(written(tmp_path, content))
    assert message in str(error.value)
    assert str(tmp_path / "topology.yaml") in str(error.value)


def test_a_data_owner_may_share_a_partys_host_if_the_topology_says_so(tmp_path: Path) -> None:
    content = changed(data_owners__0__host="beta", data_owners__0__with_party=True)
    assert read_topology(written(tmp_path, content)).data_owners[0].with_party


def test_a_host_folder_holds_what_its_operator_needs_and_nothing_of_others(tmp_path: Path) -> None:
    render(read_topology(REPOSITORY / "configs" / "three-hosts.yaml"), tmp_path / "deployment")
    party, owner = tmp_path / "deployment" / "party-1", tmp_path / "deployment" / "data-owner"
    own = {"config.yaml", "ca.pem", "certificate.pem", "key.pem", "compose.yaml", ".env"}
    assert {path.name for path in party.iterdir()} == own | {"gateway.cfg"}
    assert {path.name for path in owner.iterdir()} == own
    keys = {path.read_bytes() for path in (tmp_path / "deployment").rglob("*key.pem")}
    assert len(keys) == 6  # five roles and the authority
    services = yaml.safe_load((party / "compose.yaml").read_text())["services"]
    assert services["gateway"]["ports"] == ["7100:7100", "7110:7110", "7112:7112", "7120:7120", "7116:7116"]
    assert "ports" not in services["party"]
    assert yaml.safe_load((owner / "config.yaml").read_text())["parties"][0]["host"] == "alpha.lab.example"
    found = yaml.safe_load((tmp_path / "deployment" / "monitoring" / "targets.yaml").read_text())
    assert found[0]["targets"] == ["alpha.lab.example:7120"]


def test_keys_made_on_hosts_are_certified_by_request(tmp_path: Path) -> None:
    """Render, request on each host, bring the requests back, render again: keys never travel."""
    topology, directory = written(tmp_path, changed(keys="hosts")), tmp_path / "deployment"
    first = freediv("render", topology, "-o", directory)
    assert first.returncode == 0, first.stderr
    assert "request.pem is missing" in first.stdout
    assert not list(directory.glob("*/key.pem"))
    host = tmp_path / "host" / "party-0"
    host.parent.mkdir()
    (directory / "party-0").rename(host)
    (directory / "party-0").mkdir()
    asked = freediv("request", host)
    assert asked.returncode == 0, asked.stderr
    assert (host / "key.pem").stat().st_mode & 0o777 == 0o600
    (directory / "party-0" / "request.pem").write_bytes((host / "request.pem").read_bytes())
    second = freediv("render", topology, "-o", directory)
    assert second.returncode == 0, second.stderr
    assert not (directory / "party-0" / "key.pem").exists()
    (host / "certificate.pem").write_bytes((directory / "party-0" / "certificate.pem").read_bytes())
    checked = freediv("health", host)  # reads the folder, then finds that no party runs here
    assert checked.returncode == 1, checked.stderr
    assert "the party does not answer" in checked.stderr


def test_a_request_that_is_none_is_refused(tmp_path: Path) -> None:
    topology, directory = written(tmp_path, changed(keys="hosts")), tmp_path / "deployment"
    render(read_topology(topology), directory)
    (directory / "party-0" / "request.pem").write_text("not a request")
    done = freediv("render", topology, "-o", directory)
    assert done.returncode == 2
    assert "request.pem: is no certificate request" in done.stderr


def test_the_files_for_a_host_each_are_those_of_rendered_folders() -> None:
    for name, text in shipped_files().items():
        assert (REPOSITORY / "compose" / name).read_text() == text, "run `make compose-files`"


@pytest.mark.parametrize("rank", range(3))
def test_kubernetes_manifests_are_valid(rank: int, tmp_path: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    topology, directory = REPOSITORY / "configs" / "three-hosts.yaml", tmp_path / "deployment"
    done = freediv("render", topology, "-o", directory, "--target", "kubernetes")
    assert done.returncode == 0, done.stderr
    path = directory / f"party-{rank}" / "kubernetes.yaml"
    assert path.stat().st_mode & 0o777 == 0o600  # the key is in it
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        kubernetes_validate.validate(document, "1.30", strict=True)
    kinds = {document["kind"]: document for document in documents}
    assert set(kinds) == {"Namespace", "Secret", "ConfigMap", "Service", "StatefulSet", "NetworkPolicy"}
    assert {d["metadata"].get("namespace", d["metadata"]["name"]) for d in documents} == {f"freediv-lab-party-{rank}"}
    own = (directory / f"party-{rank}" / "key.pem").read_text()
    assert kinds["Secret"]["stringData"]["key.pem"] == own
    for other in {0, 1, 2} - {rank}:
        assert (directory / f"party-{other}" / "key.pem").read_text() not in path.read_text()


def test_kubernetes_manifests_of_a_door_are_valid(tmp_path: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    topology, folder = REPOSITORY / "configs" / "three-hosts.yaml", tmp_path / "deployment" / "data-owner"
    for _ in range(2):  # the token stays
        done = freediv("render", topology, "-o", folder.parent, "--target", "kubernetes")
        assert done.returncode == 0, done.stderr
        documents = list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text()))
        kinds = {document["kind"]: document for document in documents}
        token = (folder / "token").read_text().strip()
        secret = {"key.pem": (folder / "key.pem").read_text(), "token": token}
        assert kinds["Secret"]["stringData"] == secret
    assert (folder / "kubernetes.yaml").stat().st_mode & 0o777 == (folder / "token").stat().st_mode & 0o777 == 0o600
    for document in documents:
        kubernetes_validate.validate(document, "1.30", strict=True)
    assert set(kinds) == {"Namespace", "Secret", "ConfigMap", "Service", "Deployment", "NetworkPolicy"}
    [container] = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    assert "--token-file" in container["args"]
    [door] = kinds["NetworkPolicy"]["spec"]["ingress"]
    assert door["from"] == [{"podSelector": {}}]  # of its own namespace


def test_a_port_that_a_gateway_takes_in_kubernetes_is_named(tmp_path: Path) -> None:
    """Of a topology without gateways, whose ports are next to each other."""
    done = freediv("render", REPOSITORY / "configs" / "local.yaml", "-o", tmp_path / "k", "--target", "kubernetes")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "every party has a gateway" in line and line.endswith("give it another port")
    assert not (tmp_path / "k").exists()


def test_kubernetes_keys_made_elsewhere_are_not_in_the_manifest(tmp_path: Path) -> None:
    done = freediv("render", written(tmp_path, changed(keys="hosts")), "-o", tmp_path / "k", "--target", "kubernetes")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "k" / "party-0" / "kubernetes.yaml").read_text()
    assert "PRIVATE KEY" not in text
    assert "kubectl create secret" in text
    door = (tmp_path / "k" / "data-owner" / "kubernetes.yaml").read_text()
    assert "PRIVATE KEY" not in door
    assert "kubectl create secret generic door" in door
