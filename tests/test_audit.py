"""What the audit of locked packages says: what is known, what is not, and never the one for the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PIP_AUDIT = Path(sys.executable).parent / "pip-audit"


@contextmanager
def advisories(vulnerable: str = "", status: int = 200) -> Iterator[str]:
    """The address of a service in OSV's form that knows of one vulnerable package."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["package"]["name"]
            affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": []}]
            answer = {"vulns": [{"id": "PYSEC-0000-1", "summary": "made up", "affected": affected}]}
            content = json.dumps(answer if name == vulnerable else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


def audit(service: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{PIP_AUDIT.parent}:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"}
    options = ["--vulnerability-service", "osv", "--osv-url", service, "--cache-dir", str(cache)]
    return subprocess.run(
        [REPOSITORY / ".ci" / "audit", *options], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.skipif(not PIP_AUDIT.exists(), reason="needs pip-audit beside this Python; `make venv-dev` installs it")
def test_the_audit_tells_clean_from_vulnerable_from_unknown(tmp_path: Path) -> None:
    with advisories() as service:
        clean = audit(service, tmp_path / "clean")
    assert (clean.returncode, clean.stderr) == (0, "")
    assert clean.stdout.startswith("audit: no known vulnerability in requirements-dev.lock")
    with advisories(vulnerable="jinja2") as service:
        found = audit(service, tmp_path / "found")
    assert found.returncode == 1
    assert "PYSEC-0000-1" in found.stderr
    assert "no known" not in found.stdout
    with advisories(status=404) as service:
        refused = audit(service, tmp_path / "refused")
    unreachable = audit(service, tmp_path / "gone")  # nothing listens there any more
    for unknown in (refused, unreachable):
        assert unknown.returncode == 0
        assert unknown.stdout.startswith("audit: cannot tell whether")
        assert len(unknown.stdout.splitlines()) == 1
