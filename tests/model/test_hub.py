"""Models by their name on a hub: the real client, against a small hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny
from freediv.model import write_model
from tiny import PUBLISHED

COMMIT = "c0ffee" + "0" * 34
PROGRAM = "import sys; from freediv.model import resolve_model; print(resolve_model(sys.argv[1]))"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    write_model(tiny.model(layers=1, **PUBLISHED), tmp_path / "published")
    (tmp_path / "published" / "pytorch_model.bin").write_bytes(b"a pickle, which nobody should fetch")
    return tmp_path / "published"


class Hub:
    """Serves one model as `lab/tiny`, in the hub's protocol."""

    def __init__(self, directory: Path) -> None:
        self.fetched: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                parts = self.path.split("?")[0].strip("/").split("/")
                if parts[:4] == ["api", "models", "lab", "tiny"] and parts[-1] in ("main", COMMIT, "tiny"):
                    names = sorted(path.name for path in directory.iterdir())
                    if "tree" in parts:
                        described = [
                            {"type": "file", "path": n, "size": (directory / n).stat().st_size, "oid": "0" * 40}
                            for n in names
                        ]
                        return self.send(json.dumps(described).encode(), body)
                    found = {"id": "lab/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                    return self.send(json.dumps(found).encode(), body)
                file = directory / parts[-1]
                if parts[:3] == ["lab", "tiny", "resolve"] and parts[3] in ("main", COMMIT) and file.is_file():
                    if body:
                        hub.fetched.append(file.name)
                    return self.send(file.read_bytes(), body)
                code = "RevisionNotFound" if "tiny" in parts else "RepoNotFound"
                self.send_response(404)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def send(self, content: bytes, body: bool) -> None:
                self.send_response(200)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(published: Path) -> Iterator[Hub]:
    found = Hub(published)
    yield found
    found.server.shutdown()
    found.server.server_close()


def ask(address: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own: the client reads its settings once."""
    own = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    environment = {**os.environ, **own, "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_model_is_fetched_by_its_name_once_and_without_its_pickles(hub: Hub, published: Path, tmp_path: Path) -> None:
    found = ask(hub.address, tmp_path / "home", "-c", PROGRAM, "hub:lab/tiny")
    assert found.returncode == 0, found.stderr
    directory = Path(found.stdout.strip().splitlines()[-1])
    for name in ("config.json", "model.safetensors"):
        assert (directory / name).read_bytes() == (published / name).read_bytes()
    assert sorted(hub.fetched) == ["config.json", "model.safetensors"]
    hub.server.shutdown()
    hub.server.server_close()
    again = ask(hub.address, tmp_path / "home", "-c", PROGRAM, "hub:lab/tiny")  # nobody answers there now
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip().splitlines()[-1] == str(directory)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:lab/tiny@v9", "the hub has no revision 'v9' of this model"),
        ("hub:lab/other", "the hub has no such model"),
        ("hub:a/b/c", "not a name on a hub"),
        ("hub:lab/tiny", "could not be fetched"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(hub: Hub, tmp_path: Path, name: str, message: str) -> None:
    if name == "hub:lab/tiny":  # which is there, where somebody answers
        hub.server.shutdown()
        hub.server.server_close()
    found = ask(hub.address, tmp_path / "home", "-m", "freediv", "evaluate", name, "--data", "dev.tsv")
    assert found.returncode == 2
    [line] = found.stderr.strip().splitlines()
    assert line.startswith(f"error: {name}: ") and message in line
