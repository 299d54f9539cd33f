"""Docker engines: this machine's, and those of other hosts."""

from __future__ import annotations

import os

import docker
from docker.errors import DockerException

from ...errors import UserError


def open_engine(address: str | None = None) -> docker.DockerClient:
    """A client of the engine at `address`, such as `ssh://operator@host` or `tcp://host:2376`; None: this machine's.

    As everywhere with Docker, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` say how to reach a `tcp://` address, and ssh's
    own configuration how to reach an `ssh://` one.

    Raises:
        UserError: it does not answer.
    """
    try:
        environment = dict(os.environ) | ({"DOCKER_HOST": address} if address else {})
        client = docker.from_env(environment=environment, use_ssh_client=(address or "").startswith("ssh://"))
        client.ping()
        return client
    except (DockerException, OSError, ValueError) as error:
        where = f"the Docker engine at {address}" if address else "this machine's Docker engine"
        raise UserError(f"{where} does not answer ({error}); is it running, and may you use it?") from None
