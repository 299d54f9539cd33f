"""Who a gateway lets through to SPU, and what it counts."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from freediv.cluster.certificates import Authority
from freediv.cluster.configuration import read_party_config
from freediv.cluster.identity import Role
from freediv.deploy.containers.gateway import WITHOUT_IPV6
from freediv.deploy.render import render

from .conftest import Gated, Gateway, gated_topology, wait_for


class Listener:
    """Stands where SPU would listen, and keeps every byte that reaches it."""

    def __init__(self, port: int) -> None:
        self.connections, self.received = 0, b""
        self._socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionResetError):
            while data := connection.recv(4096):
                self.received += data

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Door:
    """Party 1's door on party 0's gateway."""

    def __init__(self, directory: Path, port: int, spu: Listener) -> None:
        self.directory, self.port, self.spu = directory, port, spu

    def folder(self, role: str) -> Path:
        return self.directory / role

    def send(self, folder: Path | None, text: bytes, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bool:
        """Send as whoever has this folder (None: without a certificate); whether the connection stood."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = version
        if folder is not None:
            context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain,
                context.wrap_socket(plain) as connection,
            ):
                connection.sendall(text)
                connection.settimeout(1)
                # Closed by the gateway, or left open by SPU, which says nothing.
                return connection.recv(1) != b""
        except TimeoutError:
            return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    topology, directory = gated_topology(), tmp_path_factory.mktemp("door") / "rendered"
    render(topology, directory)
    config = read_party_config(directory / "party-0")
    with ExitStack() as stack:
        spu = Listener(int(config.link_addresses()[0].rpartition(":")[2]))
        stack.callback(spu.close)
        Gateway(directory / "party-0").start(stack)
        found = Door(directory, config.me.door(1), spu)
        wait_for(lambda: found.send(found.folder("party-1"), b""), 20, "the gateway opens")
        yield found


def refused(door: Door, folder: Path | None, **how: ssl.TLSVersion) -> None:
    before = door.spu.connections, door.spu.received
    assert not door.send(folder, b"let me in", **how)
    time.sleep(0.2)
    assert (door.spu.connections, door.spu.received) == before


def test_the_door_of_a_party_opens_for_its_certificate(door: Door) -> None:
    assert door.send(door.folder("party-1"), b"from party 1")
    wait_for(lambda: b"from party 1" in door.spu.received, 5, "what party 1 sent")


@pytest.mark.parametrize("role", ["party-2", "party-0", "model-owner", "data-owner"])
def test_another_role_of_the_cluster_is_refused(door: Door, role: str) -> None:
    refused(door, door.folder(role))


def test_another_authority_is_refused(door: Door, tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "authority", "gated")
    authority.issue(tmp_path / "party-1", Role("gated", "party", rank=1), ("127.0.0.1",))
    refused(door, tmp_path / "party-1")


def test_an_expired_certificate_is_refused(door: Door, tmp_path: Path) -> None:
    good = x509.load_pem_x509_certificate((door.folder("party-1") / "certificate.pem").read_bytes())
    key = serialization.load_pem_private_key((door.directory / "authority" / "ca-key.pem").read_bytes(), None)
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder(good.issuer, good.subject, good.public_key(), good.serial_number)
    builder = builder.not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(
        now - datetime.timedelta(days=1)
    )
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    expired = builder.sign(key, hashes.SHA256())
    (tmp_path / "certificate.pem").write_bytes(expired.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes((door.folder("party-1") / "key.pem").read_bytes())
    refused(door, tmp_path)


def test_no_certificate_is_refused(door: Door) -> None:
    refused(door, None)


def test_an_older_tls_is_refused(door: Door) -> None:
    refused(door, door.folder("party-1"), version=ssl.TLSVersion.TLSv1_2)


def test_plaintext_is_refused(door: Door) -> None:
    before = door.spu.connections, door.spu.received
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as plain:
        plain.sendall(b"PRPC" + bytes(200))
        plain.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert plain.recv(100)[:1] in (b"", b"\x15")  # nothing, or a TLS alert
    time.sleep(0.2)
    assert (door.spu.connections, door.spu.received) == before


def counted(gated: Gated, rank: int) -> tuple[int, int]:
    """Bytes that a gateway carried for its party: sent and received."""
    party = gated.topology.by_rank[rank]
    address = f"http://127.0.0.1:{party.gateway_metrics_port(3)}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        text = answer.read().decode()
    found = re.findall(r'haproxy_backend_bytes_(in|out)_total\{proxy="(door|exit)-\d"\} (\d+)', text)
    assert len(found) == 8
    sent = sum(int(count) for way, kind, count in found if (kind, way) in {("exit", "in"), ("door", "out")})
    return sent, sum(int(count) for *_, count in found) - sent


def settled(gated: Gated) -> list[tuple[int, int]]:
    """The same of all gateways, once nothing changes any more: HAProxy adds what flows through every five seconds."""
    last, since = [counted(gated, rank) for rank in range(3)], time.monotonic()
    while time.monotonic() - since < 7:
        time.sleep(0.5)
        if (now := [counted(gated, rank) for rank in range(3)]) != last:
            last, since = now, time.monotonic()
    return last


def test_gateways_count_what_spu_says_that_it_sent(gated: Gated) -> None:
    gated.infer()
    before = settled(gated)
    (request,) = gated.infer()["cost"]["requests"]
    after = settled(gated)
    for rank, party in enumerate(request["parties"]):
        sent, received = (now - then for now, then in zip(after[rank], before[rank], strict=True))
        # Every message has a header of a few hundred bytes; the tiny model's messages are small.
        overhead = 400 * party["link_sent_messages"]
        assert party["link_sent_bytes"] <= sent <= party["link_sent_bytes"] + overhead
        assert party["link_received_bytes"] <= received <= party["link_received_bytes"] + overhead


# --- renewal ---


def shown_at(port: int, folder: Path) -> bytes:
    """The certificate that a door shows to whoever has this folder, as PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return ssl.DER_cert_to_PEM_cert(found).encode()


class PeersDoor:
    """Stands where a peer's gateway would, and keeps what certificate each caller shows."""

    def __init__(self, folder: Path, port: int) -> None:
        self.shown: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
        self._context.load_verify_locations(folder / "ca.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._socket.accept()
                with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as connection:
                    found = connection.getpeercert(binary_form=True)
                    assert found is not None
                    self.shown.append(ssl.DER_cert_to_PEM_cert(found).encode())
                    while connection.recv(4096):
                        pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def test_a_renewed_certificate_is_shown_without_a_restart_and_the_link_in_use_stays(tmp_path: Path) -> None:
    topology, directory = gated_topology(), tmp_path / "rendered"
    render(topology, directory)
    mine, peers = directory / "party-0", directory / "party-1"
    config = read_party_config(mine)
    door, way_out = config.me.door(1), int(config.link_addresses()[1].rpartition(":")[2])
    with ExitStack() as stack:
        spu = Listener(int(config.link_addresses()[0].rpartition(":")[2]))
        stack.callback(spu.close)
        peer = PeersDoor(peers, config.parties[1].door(0))
        stack.callback(peer.close)
        Gateway(mine).start(stack)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(peers / "certificate.pem", peers / "key.pem")

        def link() -> ssl.SSLSocket | None:
            with contextlib.suppress(OSError):
                return context.wrap_socket(socket.create_connection(("127.0.0.1", door), timeout=5))
            return None

        wait_for(lambda: (opened := link()) and stack.enter_context(opened), 20, "the gateway opens")
        in_use = stack.enter_context(link() or pytest.fail("the door is shut"))
        in_use.sendall(b"before")
        old = (mine / "certificate.pem").read_bytes()
        assert shown_at(door, peers).split() == old.split()

        def called_as() -> bytes:
            """What the gateway shows on its own way out."""
            before = len(peer.shown)
            with socket.create_connection(("127.0.0.1", way_out), timeout=5):
                wait_for(lambda: len(peer.shown) > before, 10, "the gateway calls")
            return peer.shown[-1]

        assert called_as().split() == old.split()
        # One that does not fit the key is not taken.
        (mine / "certificate.pem").write_bytes((peers / "certificate.pem").read_bytes())
        log = mine / "memory" / "log"
        wait_for(lambda: "the certificate from before stays in use" in log.read_text(), 20, "a look at the certificate")
        assert shown_at(door, peers).split() == old.split()
        (mine / "certificate.pem").unlink()
        render(topology, directory)  # makes it anew, for the same key
        new = (mine / "certificate.pem").read_bytes()
        wait_for(lambda: shown_at(door, peers).split() == new.split(), 20, "the new certificate")
        assert new.split() != old.split()
        assert called_as().split() == new.split()
        in_use.sendall(b" and after")
        wait_for(lambda: b"before and after" in spu.received, 5, "what the link in use carries")
        assert "PRIVATE" not in log.read_text()


# --- addresses ---


@pytest.mark.parametrize("ipv6", [True, False])
def test_a_gateway_listens_on_every_address_of_both_families_or_of_the_one_there_is(tmp_path: Path, ipv6: bool) -> None:
    if ipv6 and not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6")
    topology, directory = gated_topology(), tmp_path / "rendered"
    parties = tuple(party.model_copy(update={"listen": "::"}) for party in topology.parties)
    render(topology.model_copy(update={"parties": parties}), directory)
    me = topology.by_rank[0]
    with ExitStack() as stack:
        Gateway(directory / "party-0", {} if ipv6 else {WITHOUT_IPV6: "1"}).start(stack)

        def listens(address: str, port: int) -> bool:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((address, port), timeout=5):
                return True
            return False

        wait_for(lambda: listens("127.0.0.1", me.door(1)), 20, "the gateway opens")
        for port in (me.door(1), me.door(2), me.gateway_metrics_port(3)):
            assert listens("127.0.0.1", port)
            assert listens("::1", port) == ipv6
