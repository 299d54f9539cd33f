"""What stands before every request: who asks, how much, for how long, and what is noted of it."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
import time
from pathlib import Path

import httpx2
import pytest
from deployment.conftest import Cluster, assert_one_line_error, run_command, wait_for
from tiny import SENTENCES

from .conftest import DoorProcess, door_before, shown

TEXT = SENTENCES[0]
TOKEN = "0123456789abcdef0123456789abcdef"


def host_of(door: DoorProcess) -> str:
    return door.address.removeprefix("http://")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example.org"},
        {"host": "rebound.example.org:8080"},
        {"origin": "http://example.org"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/status", "/info", "/predict", "/docs", "/metrics", "/health"])
def test_a_page_of_another_site_gets_nothing(door: DoorProcess, headers: dict[str, str], path: str) -> None:
    ask = (
        door.post("/predict", {"inputs": TEXT}, headers=headers)
        if path == "/predict"
        else door.get(path, headers=headers)
    )
    assert ask.status_code == 403, shown(ask)
    assert set(ask.json()) == {"error", "error_type"}
    assert not [name for name in ask.headers if name.startswith("access-control-")]


def test_its_own_pages_may_ask_by_every_name_of_loopback(door: DoorProcess) -> None:
    port = host_of(door).rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        answer = door.get("/info", headers={"host": host, "origin": f"http://{host}"})
        assert answer.status_code == 200, shown(answer)


def test_other_sites_are_not_told_that_they_may_ask(door: DoorProcess) -> None:
    with door.client() as client:
        asked = client.options("/predict", headers={"access-control-request-method": "POST"})
    assert asked.status_code == 405
    assert not [name for name in asked.headers if name.startswith("access-control-")]


def test_what_is_not_json_is_refused(door: DoorProcess) -> None:
    with door.client() as client:
        form = client.post("/predict", data={"inputs": TEXT})
        text = client.post("/predict", content=json.dumps({"inputs": TEXT}), headers={"content-type": "text/plain"})
        broken = client.post("/predict", content="{", headers={"content-type": "application/json"})
        deep = client.post("/predict", content="[" * 500_000, headers={"content-type": "application/json"})
        bytes_ = client.post("/predict", content=b'{"inputs": "\xff"}', headers={"content-type": "application/json"})
    assert [one.status_code for one in (form, text, broken, deep, bytes_)] == [415, 415, 400, 400, 400]


def test_bodies_are_not_read_beyond_the_limit(door: DoorProcess) -> None:
    host, port = host_of(door).split(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as announced:
        announced.sendall(f"{head}Content-Length: 2000001\r\n\r\n".encode())
        assert b" 413 " in announced.recv(4096).splitlines()[0]
    with socket.create_connection((host, int(port)), timeout=20) as chunked:
        chunked.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        sent = 0
        try:
            for _ in range(4000):
                chunked.sendall(piece)
                sent += 0x10000
        except OSError:
            pass  # hung up on
        assert sent < 60_000_000, "a body without an end is read on"
    assert door.is_well()


def test_every_answer_has_a_request_id_and_the_log_has_no_text(door: DoorProcess) -> None:
    given = door.post("/predict", {"inputs": TEXT}, headers={"x-request-id": "run-7.a_B"})
    assert given.headers["x-request-id"] == "run-7.a_B"
    made = door.post("/predict", {"inputs": "no-such-word-zyzzyva"}, headers={"x-request-id": "a b\t" + "x" * 100})
    assert re.fullmatch(r"[0-9a-f]{16}", made.headers["x-request-id"])
    refused = door.post("/predict", {"inputs": ["zyzzyva", "zyzzyva"]})
    door.get("/models/zyzzyva/info")
    door.get("/zyzzyva?zyzzyva=1")
    wait_for(lambda: any(refused.headers["x-request-id"] in line for line in door.log), "the log of a request")
    log = "".join(door.log)
    assert re.search(r"request run-7\.a_B: POST /predict 200 in \d+\.\d+ s", log)
    assert "zyzzyva" not in log
    assert "warm" not in log
    assert "GET /health 200" not in log  # asked every few seconds, by whoever watches
    assert "zyzzyva" not in refused.text


def test_answers_are_kept_by_nobody_and_run_nothing(door: DoorProcess) -> None:
    answer = door.get("/info")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_what_is_asked_for_a_caller_who_hangs_up_is_withdrawn(door: DoorProcess) -> None:
    host, port = host_of(door).split(":")
    body = json.dumps({"inputs": [[TEXT]] * 256})
    with socket.create_connection((host, int(port))) as caller:
        head = (
            f"POST /predict HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nX-Request-Id: gone\r\n"
        )
        caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_for(lambda: "freediv_door_waiting_texts" in door.get("/metrics").text, "metrics")
        wait_for(lambda: waiting(door) > 0, "the request is under way")
    wait_for(lambda: waiting(door) == 0, "nothing is under way")
    wait_for(lambda: any("request gone: POST /predict 499" in line for line in door.log), "the log says so")


def waiting(door: DoorProcess) -> float:
    found = re.search(r'^freediv_door_waiting_texts{model="test"} (\S+)$', door.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_metrics_have_no_label_of_a_callers_making(door: DoorProcess) -> None:
    for path in ("/zyzzyva", "/models/zyzzyva/info", "/models/zyzzyva/predict"):
        door.get(path)
    text = door.get("/metrics").text
    assert "zyzzyva" not in text
    assert re.search(r'^freediv_door_requests_total{route="/predict",status="200"} \d', text, re.MULTILINE)
    assert re.search(r"^freediv_door_texts_total [1-9]", text, re.MULTILINE)


def test_who_has_to_show_a_token_has_to_show_the_right_one(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n")
    options = ("--token-file", str(file))
    with door_before(cluster.folder("data-owner-alice"), options=options) as door:
        for shown_token in (
            None,
            "",
            "Bearer",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}0",
            f"Basic {TOKEN}",
            "Bearer é",
        ):
            headers = {} if shown_token is None else {"authorization": shown_token.encode()}
            for path in ("/predict", "/models/test/predict", "/v1/embeddings", "/"):
                refused = door.post(path, {"inputs": TEXT}, headers=headers)
                assert refused.status_code == 401, shown(refused)
                assert refused.headers["www-authenticate"] == "Bearer"
            assert door.get("/metrics", headers=headers).status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        assert door.post("/predict", {"inputs": TEXT}, headers=right).status_code == 200
        assert door.get("/health").status_code == 200
        assert TOKEN not in "".join(door.log)


def test_a_token_that_others_can_read_or_guess_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "token"
    for content, mode, words in ((TOKEN, 0o644, "chmod 600"), ("short", 0o600, "16 characters")):
        file.write_text(content)
        file.chmod(mode)
        done = run_command("serve", cluster.folder("data-owner-alice"), "--listen", "127.0.0.1:0", "--token-file", file)
        assert_one_line_error(done, words, str(file))


def test_a_door_that_others_reach_wants_to_know_them(cluster: Cluster, tmp_path: Path) -> None:
    folder = cluster.folder("data-owner-alice")
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN)
    done = run_command("serve", folder, "--listen", "0.0.0.0:0")
    assert_one_line_error(done, "--token-file", "--client-ca")
    done = run_command("serve", folder, "--listen", "0.0.0.0:0", "--token-file", file)
    assert_one_line_error(done, "in the clear", "--tls-certificate")
    done = run_command("serve", folder, "--listen", "127.0.0.1:0", "--client-ca", folder / "ca.pem")
    assert_one_line_error(done, "--tls-certificate")


def test_callers_show_a_certificate_where_one_is_wanted(cluster: Cluster) -> None:
    folder, other = cluster.folder("data-owner-alice"), cluster.folder("data-owner-bob")
    server = cluster.folder("party-0")  # whose certificate is one for servers
    files = {"tls-certificate": "certificate.pem", "tls-key": "key.pem", "client-ca": "ca.pem"}
    options = tuple(part for name, file in files.items() for part in (f"--{name}", str(server / file)))
    with door_before(folder, options=options, well=False) as door:
        assert door.address.startswith("https://")
        trusting = ssl.create_default_context(cafile=folder / "ca.pem")
        trusting.check_hostname = False
        with httpx2.Client(verify=trusting) as client, pytest.raises(httpx2.TransportError):
            client.get(f"{door.address}/info")
        trusting.load_cert_chain(other / "certificate.pem", other / "key.pem")
        with httpx2.Client(verify=trusting, timeout=60) as client:
            wait_for(lambda: client.get(f"{door.address}/health").status_code == 200, "the door is well")
            assert client.post(f"{door.address}/predict", json={"inputs": TEXT}).status_code == 200


def test_a_unix_socket_is_its_users_alone_and_goes_with_the_door(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "door"
    with door_before(cluster.folder("data-owner-alice"), options=("--unix", str(path)), well=False) as door:
        assert door.address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        transport = httpx2.HTTPTransport(uds=str(path))
        with httpx2.Client(transport=transport, base_url="http://door", timeout=60) as client:
            wait_for(lambda: client.get("/health").status_code == 200, "the door is well")
            assert client.post("/predict", json={"inputs": TEXT}).status_code == 200
        done = run_command("serve", cluster.folder("data-owner-alice"), "--unix", path)
        assert_one_line_error(done, "another process listens there")
        assert door.stop() == 0
    assert not path.exists()


def test_what_is_left_of_a_socket_is_taken_away(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with door_before(cluster.folder("data-owner-alice"), options=("--unix", str(path)), well=False) as door:
        assert door.address == f"unix:{path}"


def test_a_queue_that_is_full_and_a_deadline_say_so(cluster: Cluster) -> None:
    options = ("--max-concurrent-requests", "1", "--deadline", "1")
    with door_before(cluster.folder("data-owner-alice"), options=options) as door:
        long = {"inputs": [[TEXT]] * 256}
        found: list[httpx2.Response] = []
        first = threading.Thread(target=lambda: found.append(door.post("/predict", long)))
        first.start()
        wait_for(lambda: waiting(door) > 0, "the first is under way")
        second = door.post("/predict", {"inputs": TEXT})
        first.join(60)
    assert second.status_code == 429, shown(second)
    assert int(second.headers["retry-after"]) >= 1
    assert second.json()["error_type"] == "Overloaded"
    assert found[0].status_code == 504, shown(found[0])
    assert "within 1 s" in found[0].json()["error"]


def test_quotas_are_told_with_when_to_come_back(cluster: Cluster) -> None:
    many = {"inputs": [[text] for text in SENTENCES]}
    with door_before(cluster.folder("data-owner-bob")) as door:
        assert door.post("/predict", {"inputs": [[text] for text in SENTENCES[:2]]}).status_code == 200
        spent = door.post("/predict", many)
        assert spent.status_code == 429, shown(spent)
        assert "1 are left" in spent.json()["error"]
        assert "retry-after" not in spent.headers  # waiting does not help
        assert door.is_well()
    with door_before(cluster.folder("data-owner-carol")) as door:
        assert door.post("/predict", many).status_code == 200
        for _ in range(6):  # while the machine is slow, a quota fills again between them
            began = time.monotonic()
            soon = door.post("/predict", many)
            if soon.status_code != 200:
                break
        assert soon.status_code == 429, shown(soon)
        assert 5 < int(soon.headers["retry-after"]) <= 60
        assert time.monotonic() - began < 20  # it is the caller who waits
        assert door.is_well()


def test_what_cannot_be_served_is_one_line(cluster: Cluster, door: DoorProcess, tmp_path: Path) -> None:
    folder = cluster.folder("data-owner-alice")
    assert_one_line_error(run_command("serve", tmp_path), "holds no folder of a data owner")
    assert_one_line_error(run_command("serve", cluster.folder("model-owner")), "is a model-owner's")
    assert_one_line_error(run_command("serve", folder, "--listen", host_of(door)), "cannot listen", "--listen")
    assert_one_line_error(run_command("serve", folder, "--listen", "8080"), "--listen 8080", "127.0.0.1:8080")


def test_a_door_ends_when_it_is_told_to(cluster: Cluster) -> None:
    with door_before(cluster.folder("data-owner-alice"), well=False) as door:
        assert door.stop() == 0
        assert "Traceback" not in "".join(door.log)
    assert not os.environ.get("FREEDIV_TRACEBACK")
