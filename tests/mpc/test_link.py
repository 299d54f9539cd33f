"""What the parties hold against each other before they run anything, over SPU's own link, and that others cannot."""

from __future__ import annotations

import itertools
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from freediv.mpc.link.consistency import all_sound
from freediv.mpc.link.failures import PeerLost, ProgramMismatch, WorkerFailed
from freediv.mpc.link.transport import ON_THIS_MACHINE, Link, LinkConfig, connect, explain
from freediv.mpc.records import Traffic
from spu import libspu

from .parties import SECRET, Parties

PEERS = (("alpha", "a:1"), ("beta", "b:2"), ("gamma", "c:3"))
_names = itertools.count()


def config(rank: int, epoch: int = 0, secret: bytes = SECRET) -> LinkConfig:
    return LinkConfig(rank, PEERS, epoch, secret, 5, 5)


def together(act: Callable[[Any, int], Any]) -> list[Any]:
    """What each party gets, or the failure that ends it: all in one process, on a link in memory."""
    name = f"test {next(_names)}"

    def one(rank: int) -> Any:
        desc = libspu.link.Desc()
        desc.id, desc.recv_timeout_ms = name, 1000
        for peer, address in PEERS:
            desc.add_party(peer, address)
        try:
            return act(libspu.link.create_mem(desc, rank), rank)
        except WorkerFailed as error:
            return error

    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(one, range(3)))


def _agree(terms: list[Any]) -> list[Any]:
    def act(context: Any, rank: int) -> Any:
        beside = {other: f"{rank} for {other}".encode() for other in range(3) if other != rank}
        return Link(context, config(rank)).agree(terms[rank], beside)

    return together(act)


def test_equal_terms_are_agreed_on_and_counted() -> None:
    terms = {"request": "r", "batch": 2}
    sent = 2 * (len('{"batch": 2, "request": "r"}' + "\0" + "0 for 1") + 32)  # and HMAC-SHA256's code
    found = _agree([terms] * 3)
    assert [traffic for _, traffic in found] == [Traffic(sent, sent, 2, 2)] * 3
    assert found[1][0] == {0: b"0 for 1", 2: b"2 for 1"}


@pytest.mark.parametrize(
    ("other", "seen"),
    [
        ({"request": "s", "model": "m"}, "beta has request s, this party r"),
        ({"request": "r", "model": "n"}, "beta has model n, this party m"),
        ({"request": "r"}, "beta has model None, this party m"),
    ],
)
def test_every_party_names_what_differs(other: Any, seen: str) -> None:
    terms = {"request": "r", "model": "m"}
    outcomes = _agree([terms, other, terms])
    assert [type(outcome) for outcome in outcomes] == [ProgramMismatch] * 3
    assert str(outcomes[0]) == str(outcomes[2]) == seen
    assert str(outcomes[1]).startswith("alpha has ")


class Wire:
    """SPU's context for party 1, whose messages to party 0 somebody else writes."""

    def __init__(self, context: Any, forge: Callable[[list[bytes]], bytes]) -> None:
        self._context, self._forge, self._to_0 = context, forge, list[bytes]()
        self.recv, self.stop_link = context.recv, context.stop_link

    def send_async(self, rank: int, message: bytes) -> None:
        if rank == 0:
            self._to_0.append(message)
            message = self._forge(self._to_0)
        self._context.send_async(rank, message)


FORGED: dict[str, Callable[[list[bytes]], bytes]] = {
    "a verdict with no code": lambda sent: sent[-1][:-32] if len(sent) > 1 else sent[-1],
    "a verdict turned round": lambda sent: b"\1" + sent[-1][1:] if len(sent) > 1 else sent[-1],
    "the message before, again": lambda sent: sent[0],
    "terms with no code": lambda sent: sent[-1][:-32],
    "other digests": lambda sent: sent[-1].replace(b"digest", b"forged"),
    "nothing": lambda sent: b"",
}


@pytest.mark.parametrize("what", FORGED)
def test_forged_digests_and_verdicts_end_the_link_and_decide_nothing(what: str) -> None:
    """Terms, digests and verdicts forged in party 1's name, or sent again: the code under the link's key holds them."""

    def act(context: Any, rank: int) -> Any:
        link = Link(Wire(context, FORGED[what]) if rank == 1 else context, config(rank))
        digests = {other: b"digest" + bytes(26) for other in link.others}
        theirs, _ = link.agree({"request": "r"}, digests)
        if rank == 1:  # party 1 finds that it is not a sharing; that party 0 believes otherwise is what is tried
            theirs = dict.fromkeys(theirs, bytes(32))
        return all_sound(link, digests, theirs)[0]

    outcome = together(act)[0]
    assert type(outcome) is WorkerFailed
    assert "is not from that party: somebody else writes into the link" in str(outcome)
    assert "beta's" in str(outcome)


@pytest.mark.parametrize(
    "change",
    [{"secret": bytes(16)}, {"epoch": 1}],
    ids=["a link of another secret", "a link of another epoch"],
)
def test_a_message_of_another_link_is_none_of_this_one(change: dict[str, Any]) -> None:
    """Digests carried over from another link: keys are made of each link's own secret and number."""
    outcome = together(lambda context, rank: Link(context, config(rank, **(change if rank == 1 else {}))).agree({}))[0]
    assert "is not from that party" in str(outcome)


def test_a_message_for_another_purpose_party_or_place_is_refused() -> None:
    """A code says from whom, to whom, for what and as which message: none stands for another."""
    first, again = (Link(None, config(1)) for _ in range(2))
    codes = [
        first._code(1, 0, "terms", b"m"),
        first._code(1, 0, "terms", b"m"),  # the second in that direction
        first._code(1, 2, "terms", b"m"),
        first._code(0, 1, "terms", b"m"),
        again._code(1, 0, "verdicts", b"m"),
        Link(None, config(1))._code(1, 0, "terms", b"n"),
    ]
    assert len(set(codes)) == len(codes)
    assert codes[0] == Link(None, config(0))._code(1, 0, "terms", b"m")


def test_a_links_name_cannot_be_guessed_and_is_not_told() -> None:
    """SPU's message keys guessed from the public epoch: they begin with 128 bits that only the parties know."""
    names = {config(0, epoch, secret).name for epoch in (1, 2) for secret in (SECRET, bytes(16))}
    assert len(names) == 4
    assert all(len(name.rpartition("-")[2]) == 32 for name in names)
    assert SECRET.hex() not in config(0).name
    assert repr(SECRET) not in repr(config(0))
    silent = explain(RuntimeError(f"[x.cc:1] Get data timeout, key={config(0, 7).name}-0:P2P-38:2->0"), config(0, 7))
    assert str(silent) == "nothing came from gamma (c:3) for 5 s"
    told = explain(RuntimeError(f"what:\n[x.cc:1] Get data timeout, key={config(0, 7).name}:7:ALLGATHER"), config(0, 7))
    assert type(told) is PeerLost
    assert config(0, 7).name not in str(told)
    assert "link-7:7:ALLGATHER" in str(told)


def _local(directory: Path, monkeypatch: pytest.MonkeyPatch) -> LinkConfig:
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return LinkConfig(0, tuple((name, ON_THIS_MACHINE) for name, _ in PEERS), 7, SECRET, 1, 1)


def _open_to_others(path: Path) -> None:
    path.mkdir(mode=0o755)


def _leads_elsewhere(path: Path) -> None:
    (path.parent / "mine").mkdir(mode=0o700)
    path.symlink_to(path.parent / "mine")


@pytest.mark.parametrize("prepare", [_open_to_others, _leads_elsewhere])
def test_a_directory_that_is_not_this_users_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Path], None]
) -> None:
    """A directory put where a link's sockets will be: its name is secret, and one that others may enter is refused."""
    with tempfile.TemporaryDirectory() as short:
        config = _local(Path(short), monkeypatch)
        assert config.directory is not None
        prepare(config.directory)
        with pytest.raises(WorkerFailed, match="is not this user's alone; parties on one machine run as one user"):
            connect(config)


def test_parties_meet_in_a_directory_too_deep_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with Parties([ON_THIS_MACHINE] * 3) as parties:
        parties.join()
        [met] = deep.iterdir()
        assert {path.name for path in met.iterdir()} == {"0", "1", "2"}


def test_the_socket_of_a_worker_that_was_killed_is_no_hindrance() -> None:
    with tempfile.TemporaryDirectory() as short:
        peers = tuple((f"party {rank}", f"unix:{short}/{rank}") for rank in range(3))
        for rank in range(3):
            with socket.socket(socket.AF_UNIX) as killed:
                killed.bind(f"{short}/{rank}")
        with ThreadPoolExecutor(3) as threads:
            links = list(threads.map(lambda rank: connect(LinkConfig(rank, peers, 0, SECRET, 5, 5)), range(3)))
            answers = threads.map(lambda link: link.agree({"model": "m"}), links)
        assert [found for found, _ in answers] == [{other: b"" for other in range(3) if other != me} for me in range(3)]
