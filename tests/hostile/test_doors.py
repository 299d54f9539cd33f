"""A gateway's doors and what strangers, or a party that is trusted no more, do to them. A real HAProxy, and no SPU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from containers.conftest import Gated, Gateway, gated, gated_topology, wait_for
from containers.test_gateway import Door, Listener, PeersDoor, refused
from deployment.conftest import Cluster
from freediv.cluster.configuration import PartyConfig, read_party_config
from freediv.cluster.credentials import Credentials, Revoked
from freediv.cluster.revocation import change
from freediv.deploy.containers.gateway import MOST
from freediv.deploy.local import LocalDeployment
from freediv.deploy.render import render
from freediv.errors import UserError
from freediv.owners.data_owner import infer
from freediv.party.calls.admission import Admission
from freediv.party.server import allow_open_files
from freediv.wire import protocol_pb2 as pb
from freediv.wire import protocol_pb2_grpc as rpc
from freediv.wire.channels import PartyChannel
from tiny import SENTENCES

__all__ = ["gated"]

HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50)
HALF_A_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: "


class Scene(Door):
    """Party 1's door on party 0's gateway, and all else that the gateway listens at."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.topology = gated_topology()
        render(self.topology, directory)
        self.config: PartyConfig = read_party_config(directory / "party-0")
        spu = Listener(int(self.config.link_addresses()[0].rpartition(":")[2]))
        stack.callback(spu.close)
        super().__init__(directory, self.config.me.door(1), spu)
        self.other_door = Door(directory, self.config.me.door(2), spu)
        self.metrics_port = self.config.me.gateway_metrics_port(3)
        Gateway(directory / "party-0").start(stack)
        wait_for(lambda: self.send(self.folder("party-1"), b""), 20, "the gateway opens")

    def link(self, folder: str = "party-1") -> ssl.SSLSocket:
        """A connection through the door, which stays open."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self.folder(folder) / "certificate.pem", self.folder(folder) / "key.pem")
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=5))

    def carries(self, link: ssl.SSLSocket, text: bytes) -> None:
        link.sendall(text)
        wait_for(lambda: text in self.spu.received, 5, "what the link carries")

    def arrives(self, door: Door, rank: int) -> float:
        """Seconds until what a peer sends through its door is there."""
        began, text = time.monotonic(), b"through door %d at %d" % (rank, time.monotonic_ns())
        link = Scene.link(door, f"party-{rank}")
        with link:
            link.sendall(text)
            while text not in self.spu.received:
                assert time.monotonic() - began < 30
                time.sleep(0.01)
        return time.monotonic() - began

    def counted(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=20) as answer:
            return answer.read().decode()


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, many_files: None) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path_factory.mktemp("doors") / "rendered", stack)


def flood(port: int, count: int, text: bytes = b"", source: str = "127.0.0.1") -> ExitStack:
    """So many connections, of which each says this and nothing more."""
    stack = ExitStack()
    for _ in range(count):
        with contextlib.suppress(ConnectionError):  # turned away
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5, (source, 0))).sendall(text)
    return stack


@pytest.mark.parametrize("text", [b"", HALF_A_HELLO], ids=["idle", "half a handshake"])
def test_a_thousand_connections_that_stay_silent_keep_no_peer_from_its_door(scene: Scene, text: bytes) -> None:
    """1,500 idle connections, or half-sent handshakes, at one door | held by room for each door, and 5 s to be done."""
    with flood(scene.port, 1500, text):
        assert scene.arrives(scene, 1) < 2
        assert scene.arrives(scene.other_door, 2) < 2
        assert "haproxy_" in scene.counted()


@pytest.mark.alone
def test_no_single_address_takes_more_than_half_of_a_door(scene: Scene) -> None:
    """As many connections as a door has room for, from one address | beyond half of the room it may have few."""
    with flood(scene.port, MOST + 500, source="127.0.0.2"):
        assert scene.arrives(scene, 1) < 2
        began = time.monotonic()
        with (
            contextlib.suppress(ConnectionResetError),
            socket.create_connection(("127.0.0.1", scene.port), 5, ("127.0.0.2", 0)) as one,
        ):
            assert one.recv(1) == b""
        assert time.monotonic() - began < 2
        with socket.create_connection(("127.0.0.1", scene.port), 5, ("127.0.0.3", 0)) as another:
            another.settimeout(2)
            with pytest.raises(TimeoutError):
                another.recv(1)


@pytest.mark.alone
def test_half_sent_requests_for_metrics_take_nothing_from_the_doors_and_end(scene: Scene) -> None:
    """1,500 half-sent requests at a gateway's /metrics | held by a limit of its own, and 5 s for a request."""
    with flood(scene.metrics_port, 1500, HALF_A_REQUEST):
        assert scene.arrives(scene, 1) < 2
        assert scene.arrives(scene.other_door, 2) < 2
        began = time.monotonic()
        assert "haproxy_" in scene.counted()
        assert time.monotonic() - began < 2
    wait_for(lambda: 'haproxy_frontend_current_sessions{proxy="metrics"} 1\n' in scene.counted(), 8, "the last ends")


@pytest.mark.alone
def test_an_idle_handshake_ends_and_an_idle_link_does_not(scene: Scene) -> None:
    """A handshake that goes nowhere | ends after 5 s, while a link is idle for as long as nobody asks."""
    with scene.link() as link, socket.create_connection(("127.0.0.1", scene.port), timeout=10) as idle:
        scene.carries(link, b"before the pause")
        began = time.monotonic()
        assert idle.recv(1) == b""
        assert 3 < time.monotonic() - began < 8
        time.sleep(2)
        scene.carries(link, b"after the pause")


# --- revoked ---


def ends(link: ssl.SSLSocket) -> float:
    """Seconds until the other end closes."""
    began = time.monotonic()
    link.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        assert link.recv(1) == b""
    return time.monotonic() - began


@pytest.fixture
def own_scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path / "rendered", stack)


def test_a_revoked_certificate_passes_no_door_and_what_it_has_open_ends(own_scene: Scene) -> None:
    """A party's stolen certificate and key, at its door | refused by fingerprint; what is open ends within seconds."""
    scene, mine = own_scene, own_scene.folder("party-0")
    with scene.link() as link, scene.link() as second, Scene.link(scene.other_door, "party-2") as other:
        scene.carries(link, b"while all is well")
        change(mine, str(scene.folder("data-owner") / "certificate.pem"))
        change(mine, "data-owner/alice")
        time.sleep(2.5)
        scene.carries(link, b"when others are revoked")
        change(mine, str(scene.folder("party-1") / "certificate.pem"))
        assert ends(link) < 3
        assert ends(second) < 3
        refused(scene, scene.folder("party-1"))
        scene.carries(other, b"from another party")
    # The peer comes back with a new one, and stays.
    (scene.folder("party-1") / "certificate.pem").unlink()
    (scene.folder("party-1") / "key.pem").unlink()
    render(scene.topology, scene.directory)
    with scene.link() as link:
        time.sleep(2.5)
        scene.carries(link, b"with a new certificate")


def test_a_revoked_party_passes_no_door_until_that_is_undone(own_scene: Scene) -> None:
    """A party that is revoked by its name, at its door and as the end of an exit | refused; what is open ends."""
    scene, mine = own_scene, own_scene.folder("party-0")
    with scene.link() as link:
        scene.carries(link, b"while all is well")
        change(mine, "party/1")
        assert ends(link) < 3
    refused(scene, scene.folder("party-1"))
    assert scene.send(scene.folder("party-2"), b"") is False  # it is party 1's door
    assert scene.arrives(scene.other_door, 2) < 2
    change(mine, "party/1", undo=True)
    wait_for(lambda: scene.send(scene.folder("party-1"), b"forgiven"), 5, "the door opens again")


def through_exit(scene: Scene) -> socket.socket:
    return socket.create_connection(("127.0.0.1", scene.config.me.exit(1, 3)), timeout=5)


@pytest.mark.parametrize("who", ["party/1", "party-1/certificate.pem"])
def test_no_exit_leads_to_whoever_shows_a_revoked_certificate(own_scene: Scene, who: str) -> None:
    """A revoked certificate shown by whoever answers at a peer's address | the exit closes at once."""
    scene = own_scene
    peer = PeersDoor(scene.folder("party-1"), scene.config.parties[1].door(0))
    try:
        with through_exit(scene) as way_out:
            wait_for(lambda: peer.shown, 5, "the peer's gateway is reached")
            way_out.settimeout(1)
            with pytest.raises(TimeoutError):
                way_out.recv(1)
            change(scene.folder("party-0"), who if who == "party/1" else str(scene.directory / who))
            assert ends(way_out) < 3
        before = len(peer.shown)
        with through_exit(scene) as way_out:
            assert ends(way_out) < 1
        assert who != "party/1" or len(peer.shown) == before
    finally:
        peer.close()


def test_a_list_that_cannot_be_read_leaves_the_one_from_before(own_scene: Scene) -> None:
    """A list of the revoked that is broken | the one from before counts."""
    scene, listed = own_scene, own_scene.folder("party-0") / "revoked"
    change(scene.folder("party-0"), "party/1")
    wait_for(lambda: not scene.send(scene.folder("party-1"), b""), 5, "the door closes")
    listed.unlink()
    listed.mkdir()
    time.sleep(2.5)
    refused(scene, scene.folder("party-1"))


class Inspected(rpc.PeerServicer):
    """A party that has nothing to do but to answer its peers."""

    async def Inspect(self, request: pb.InspectRequest, context: Any) -> pb.PartyState:  # noqa: N802
        return pb.PartyState(epoch=7)


@pytest.mark.parametrize("who", ["party/1", "party-1/certificate.pem"])
def test_a_revoked_party_is_refused_by_its_peers_on_its_next_call(tmp_path: Path, who: str) -> None:
    """A revoked party, or its stolen certificate, that calls a peer | refused, on connections that are open too."""
    topology, directory = gated_topology(), tmp_path / "rendered"
    render(topology, directory)
    answering, calling = (read_party_config(directory / f"party-{rank}") for rank in (0, 1))

    async def call_before_and_after() -> None:
        refusals: list[str] = []
        admission = Admission("gated", 0, Revoked(answering), refusals.append)
        server = grpc.aio.server(interceptors=(admission,))
        rpc.add_PeerServicer_to_server(Inspected(), server)
        server.add_secure_port(f"127.0.0.1:{answering.me.grpc_port}", Credentials(answering).for_server())
        await server.start()
        channel = PartyChannel(calling, 0, Credentials(calling))
        try:
            peer = rpc.PeerStub(channel.get())
            assert (await peer.Inspect(pb.InspectRequest(), timeout=10)).epoch == 7
            change(answering.folder, who if who == "party/1" else str(directory / who))
            with pytest.raises(grpc.aio.AioRpcError, match="the certificate of party/1 has been revoked"):
                await peer.Inspect(pb.InspectRequest(), timeout=10)
            assert len(refusals) == 1
        finally:
            await channel.close()
            await server.stop(None)

    asyncio.run(call_before_and_after())


def test_a_revoked_party_has_no_part_in_anything_until_that_is_undone(cluster: Cluster) -> None:
    """A party that its peer's operator has revoked by name | told no link's secret and no request; owners hear why."""
    folder, owner = cluster.folder("party-0"), cluster.folder("data-owner-alice")
    change(folder, "party/1")
    try:
        wait_for(lambda: "party 1 has been revoked" in cluster.local.states()[0].problem, 20, "party 0 looks")
        with pytest.raises(UserError, match="party 0 turns party 1 away: the certificate of party/1 has been revoked"):
            infer(owner, SENTENCES[:1])
    finally:
        change(folder, "party/1", undo=True)
    wait_for(lambda: not cluster.local.states()[0].problem, 20, "party 0 looks again")
    assert len(infer(owner, SENTENCES[:1]).predictions) == 1


def test_strangers_connections_do_not_take_the_files_that_a_party_needs(many_files: None) -> None:
    """As many connections as a shell lets a process have files | a party lets itself have 65,536, where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        allow_open_files()
        most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- a whole cluster ---


def test_a_handshake_with_a_party_that_goes_nowhere_ends(cluster: Cluster) -> None:
    """Idle connections and half-sent handshakes at gRPC's port | ended after 10 s; owners are answered meanwhile."""
    port = cluster.local.parties[0].config.me.grpc_port
    with (
        flood(port, 150),
        flood(port, 150, HALF_A_HELLO),
        socket.create_connection(("127.0.0.1", port), timeout=15) as one,
    ):
        began = time.monotonic()
        assert len(infer(cluster.folder("data-owner-alice"), SENTENCES[:1]).predictions) == 1
        assert one.recv(1) == b""
        assert time.monotonic() - began < 14


@contextlib.contextmanager
def siege(ports: list[int], count: int) -> Iterator[None]:
    """So many half-sent handshakes at each port, made anew before they end."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            with ExitStack() as stack:
                for port in ports:
                    stack.enter_context(flood(port, count, HALF_A_HELLO))
                over.wait(3)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def heal(gated: Gated) -> float:
    """Seconds from a worker's death until all parties are linked anew."""
    local = LocalDeployment(gated.directory)
    before = local.states()
    began = time.monotonic()
    os.kill(before[1].worker_pid, signal.SIGKILL)
    wait_for(
        lambda: all(now.link_up and now.epoch > then.epoch for now, then in zip(local.states(), before, strict=True)),
        120,
        "the parties are linked",
    )
    return time.monotonic() - began


def test_a_link_heals_while_strangers_hold_its_doors(gated: Gated, many_files: None) -> None:
    """500 half-sent handshakes at every door, for as long as it takes | there is room for more: a broken link heals."""
    usual = heal(gated)
    doors = [p.door(rank) for p in gated.topology.by_rank for rank in range(3) if rank != p.rank]
    with siege(doors, 500):
        assert heal(gated) < 2 * usual + 5  # most of it is a worker's start, on a machine that strangers keep busy
