"""A party's gateway where processes run without containers: there, or said to be missing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from containers.conftest import gated_topology
from freediv.cluster.configuration import PartyConfig, read_party_config
from freediv.cluster.ports import unused_exit
from freediv.deploy import local_gateway
from freediv.deploy.local import LocalDeployment
from freediv.deploy.render import render
from freediv.errors import UserError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    render(gated_topology(), tmp_path / "rendered")
    return tmp_path / "rendered"


def test_without_haproxy_nothing_is_started(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_gateway.shutil, "which", lambda name, path: None)
    with pytest.raises(UserError, match="party 0: its link needs a gateway, and there is no haproxy on this machine"):
        LocalDeployment(directory).start()
    assert not list(directory.glob("*/party.pid"))


def test_a_gateway_that_does_not_run_is_noticed(directory: Path) -> None:
    config: PartyConfig = read_party_config(directory / "party-1")
    addresses = config.link_addresses()
    assert unused_exit(config) == addresses[0]
    with ExitStack() as stack:
        for address in (addresses[0], addresses[2]):
            stack.enter_context(socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))))
        assert unused_exit(config) is None


def test_a_party_ends_with_its_gateway_and_leaves_no_copy_of_its_key(directory: Path) -> None:
    """HAProxy cannot have a door's port: the party says so, with HAProxy's own words before."""
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("needs haproxy, which is not installed; `make test-setup` as root installs it")
    config = read_party_config(directory / "party-1")
    command = [sys.executable, "-m", "freediv", "party", "--gateway", "--config", str(directory / "party-1")]
    with socket.create_server(("", config.me.door(0))):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f":{config.me.door(0)}" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: its gateway ended with exit status 1; the lines before say why"
    assert not (directory / "party-1" / "gateway").exists()
