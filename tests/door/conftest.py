"""A door before a real deployment, as its callers find it: a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from deployment.conftest import Cluster, MakeCluster, clusters, expected, expected_labels, tiny_model, wait_for
from freediv.owners.model_owner import load
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["expected", "expected_labels", "tiny_model"]


@pytest.fixture(scope="package")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    with clusters(tmp_path_factory) as make:
        yield make


QUOTA = {"budget": 3}
RATE = {"sentences_per_minute": 8}
"""Of a minute's sentences, at least one request's (16) may come at once."""


class Collector:
    """Where spans are sent to: all that came, as it came."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> Iterator[tuple[str, Any]]:
        """Of which service, and the span."""
        for content in list(self.received):
            for found in ExportTraceServiceRequest.FromString(content).resource_spans:
                service = next(one.value.string_value for one in found.resource.attributes if one.key == "service.name")
                for scope in found.scope_spans:
                    yield from ((service, span) for span in scope.spans)


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Whatever is started here from now on sends its spans to it."""
    made = Collector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{made.server.server_port}")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield made
    made.server.shutdown()


@pytest.fixture(scope="package")
def cluster(make_cluster: MakeCluster, tiny_model: Path, collector: Collector) -> Cluster:
    """With a data owner without a quota, two with a budget, and one with a rate."""
    owners = (
        "alice",
        {"name": "bob", "quota": QUOTA},
        {"name": "carol", "quota": RATE},
        {"name": "dave", "quota": QUOTA},
    )
    made = make_cluster(data_owners=owners)
    made.up()
    load(made.folder("model-owner"), tiny_model)
    return made


@dataclass
class DoorProcess:
    """`freediv serve`, running; `log` is what it printed on standard error."""

    process: subprocess.Popen[str]
    address: str = ""
    log: list[str] = field(default_factory=list)

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.address, timeout=120, **options)

    def post(self, path: str, body: object, **options: Any) -> httpx2.Response:
        headers = {"content-type": "application/json"} | options.pop("headers", {})
        with self.client() as client:
            return client.post(path, content=json.dumps(body), headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        with self.client() as client:
            return client.get(path, **options)

    def is_well(self, path: str = "/health") -> bool:
        return self.get(path).status_code == 200

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def door_before(*folders: str | Path, options: tuple[str, ...] = (), well: bool = True) -> Iterator[DoorProcess]:
    """A door on a free port of 127.0.0.1, stopped in the end."""
    command = [sys.executable, "-m", "freediv", "serve", *map(str, folders), *options]
    if not {"--listen", "--unix"} & set(options):
        command += ["--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    door = DoorProcess(process)

    def read() -> None:
        assert process.stderr is not None
        door.log.extend(process.stderr)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r" at (\S+)$", line.strip())
        assert found is not None, f"{line}{''.join(door.log)}"
        door.address = found[1]
        if well:
            wait_for(door.is_well, f"the door is well; {door.log}")
        yield door
    finally:
        process.kill()
        process.wait()
        reading.join(5)


@pytest.fixture(scope="package")
def door(cluster: Cluster) -> Iterator[DoorProcess]:
    """Before the deployment, as the data owner without a quota."""
    with door_before(cluster.folder("data-owner-alice")) as opened:
        yield opened


@pytest.fixture(scope="package")
def own(make_cluster: MakeCluster) -> Cluster:
    """For models of any kind, one after another."""
    made = make_cluster(cluster="kinds")
    made.up()
    return made


@pytest.fixture(scope="package")
def opened(own: Cluster) -> Iterator[DoorProcess]:
    with door_before(own.folder("data-owner"), well=False) as door:
        yield door


def serving(door: DoorProcess, cluster: Cluster, model: Path, kind: str) -> None:
    """Have the door's deployment serve a model."""
    load(cluster.folder("model-owner"), model, without_headroom=True)
    wait_for(lambda: kind in door.get("/info").json().get("model_type", ()), f"the model is served; {door.log}")


def shown(response: httpx2.Response) -> str:
    """For an assertion's message."""
    return f"{response.status_code} {json.dumps(dict(response.headers))} {response.text}"
