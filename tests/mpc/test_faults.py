"""What parties see when one of them, its host, its certificate or its configuration fails."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.errors import UserError
from freediv.model import forward
from freediv.mpc.records import StageRecord
from freediv.mpc.sharing.settings import ProtocolSettings
from freediv.mpc.worker.worker import PeerLost, ProgramMismatch, Worker, WorkerConfig, WorkerFailed

from .parties import SECRET, Parties, architecture, free_addresses, random_parameters, sentences

RECEIVE_S = 10.0


@pytest.fixture(scope="module")
def model() -> Any:
    return architecture()


@pytest.fixture
def parameters(model: Any) -> Any:
    return random_parameters(model)


def test_a_worker_that_dies_in_a_request_is_seen_by_all_and_a_new_link_works(
    tmp_path: Path, model: Any, parameters: Any
) -> None:
    token_ids, mask = sentences(model.vocabulary)
    with Parties(recv_timeout_s=RECEIVE_S) as parties:
        parties.join()
        parties.load(tmp_path, model, parameters)
        inputs = parties.inputs(token_ids, mask)

        def die(rank: int, record: StageRecord) -> None:
            if rank == 2 and record.stage == "encoder.0.attention":
                _signal(parties.workers[2], signal.SIGKILL)

        outcomes = parties.outcomes(
            lambda rank, worker: worker.run("r", *token_ids.shape, inputs[rank], lambda record: die(rank, record))
        )
        assert isinstance(outcomes[2], WorkerFailed)
        assert "SIGKILL" in str(outcomes[2])
        assert [type(outcome) for outcome in outcomes[:2]] == [PeerLost, PeerLost]
        causes = [str(outcome) for outcome in outcomes[:2]]
        assert any("party-2" in cause for cause in causes)  # who notices later may have lost the other one first
        assert not any("\n" in cause for cause in causes)
        assert not any(worker.alive for worker in parties.workers)

        with Parties(parties.addresses, epoch=1) as again:
            again.join()
            again.load(tmp_path, model, parameters)
            np.testing.assert_allclose(again.predict(token_ids, mask), _plain(model, parameters), atol=0.02)


def _signal(worker: Worker, which: signal.Signals) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, which)


def _plain(model: Any, parameters: Any) -> np.ndarray:
    token_ids, mask = sentences(model.vocabulary)
    return np.asarray(forward(model, parameters, {"token_ids": token_ids, "mask": mask.astype(np.float32)}))


class TestOneWorker:
    """What its own party sees; the others are not even there."""

    @pytest.fixture
    @staticmethod
    def worker() -> Iterator[Worker]:
        peers = tuple((f"party-{rank}", address) for rank, address in enumerate(free_addresses(3)))
        with Worker(WorkerConfig(0, peers, SECRET, connect_timeout_s=600, recv_timeout_s=1)) as one:
            one.start()
            yield one

    @pytest.mark.parametrize("which", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
    def test_its_end_by_a_signal_is_named(self, worker: Worker, which: signal.Signals) -> None:
        _signal(worker, which)
        with pytest.raises(WorkerFailed, match=f"ended by {which.name}"):
            worker.connect()
        assert not worker.alive

    def test_kill_ends_a_waiting_call(self, worker: Worker) -> None:
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(worker.connect)
            while not waiting.running():
                time.sleep(0.01)
            worker.kill()
            with pytest.raises(WorkerFailed, match="the worker was stopped"):
                waiting.result()
        with pytest.raises(WorkerFailed, match="the worker was stopped"):
            worker.connect()
        assert not worker.alive

    def test_an_interrupt_ends_it(self, worker: Worker) -> None:
        main = threading.main_thread().ident
        assert main is not None
        interrupt = threading.Timer(1.0, signal.pthread_kill, [main, signal.SIGINT])
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            worker.connect()
        assert not worker.alive


def test_a_frozen_worker_is_given_up() -> None:
    peers = tuple((f"party-{rank}", address) for rank, address in enumerate(free_addresses(3)))
    with Worker(WorkerConfig(0, peers, SECRET, connect_timeout_s=1, recv_timeout_s=1)) as worker:
        worker.start()
        _signal(worker, signal.SIGSTOP)
        with pytest.raises(WorkerFailed, match="took too long"):
            worker.connect()
        assert not worker.alive


def test_a_party_that_does_not_appear_is_named(tmp_path: Path) -> None:
    peers = tuple((f"party-{rank}", address) for rank, address in enumerate(free_addresses(3)))
    with Worker(WorkerConfig(0, peers, SECRET, connect_timeout_s=2, recv_timeout_s=2)) as worker:
        worker.start()
        with pytest.raises(PeerLost, match=rf"party-1 \({peers[1][1]}\) did not answer"):
            worker.connect()


def test_a_name_that_does_not_resolve_is_named() -> None:
    peers = (("party-0", free_addresses(1)[0]), ("party-1", "party-1.invalid:9"), ("party-2", free_addresses(1)[0]))
    with Worker(WorkerConfig(0, peers, SECRET, connect_timeout_s=1)) as worker:
        worker.start()
        with pytest.raises(PeerLost, match=r"party-1 \(party-1.invalid:9\) does not resolve"):
            worker.connect()


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        peers = (("party-0", address), *(("party", other) for other in free_addresses(2)))
        with Worker(WorkerConfig(0, peers, SECRET, connect_timeout_s=2)) as worker:
            worker.start()
            with pytest.raises(WorkerFailed, match=f"cannot listen on {address}: is the port in use"):
                worker.connect()


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = """
import time
from freediv.mpc.worker.worker import Worker, WorkerConfig
peers = (("a", "127.0.0.1:1"), ("b", "127.0.0.1:2"), ("c", "127.0.0.1:3"))
worker = Worker(WorkerConfig(0, peers, bytes(16)))
worker.start()
print(worker.pid, flush=True)
time.sleep(600)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 200
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(f"/proc/{pid}").exists()
        assert list(tmp_path.iterdir()) == []
    finally:
        parent.kill()
        parent.wait()


def test_parties_that_hold_different_models_refuse_to_run(tmp_path: Path, model: Any, parameters: Any) -> None:
    token_ids, mask = sentences(model.vocabulary)
    with Parties() as parties:
        parties.join()
        places = parties.load(tmp_path, model, parameters)
        parties.workers[1].load(architecture(activation="relu"), "logits", places[1], "m")
        inputs = parties.inputs(token_ids, mask)
        messages = _mismatches(parties.outcomes(lambda rank, worker: worker.run("r", *token_ids.shape, inputs[rank])))
        assert "party-1 has program" in messages[0]
        assert "party-0 has program" in messages[1]
        assert "party-1 has program" in messages[2]


def test_parties_of_different_settings_refuse_to_connect() -> None:
    addresses = free_addresses(3)
    peers = tuple((f"party-{rank}", address) for rank, address in enumerate(addresses))
    with Parties(addresses) as parties:
        parties.workers[2] = Worker(WorkerConfig(2, peers, SECRET, ProtocolSettings(fraction_bits=16)))
        parties.each(lambda rank, worker: worker.start())
        messages = _mismatches(parties.outcomes(lambda rank, worker: worker.connect()))
        assert messages[0] == "party-2 has fraction_bits 16, this party 18"
        assert messages[2] == "party-0 has fraction_bits 18, this party 16"


def test_parties_of_different_epochs_do_not_join() -> None:
    addresses = free_addresses(3)
    peers = tuple((f"party-{rank}", address) for rank, address in enumerate(addresses))
    with Parties(addresses, recv_timeout_s=2) as parties:
        parties.workers[2] = Worker(WorkerConfig(2, peers, SECRET, epoch=1, recv_timeout_s=2))
        parties.each(lambda rank, worker: worker.start())
        outcomes = parties.outcomes(lambda rank, worker: worker.connect())
        assert [type(outcome) for outcome in outcomes] == [PeerLost] * 3


def _mismatches(outcomes: list[Any]) -> list[str]:
    assert all(isinstance(outcome, ProgramMismatch) for outcome in outcomes), outcomes
    return [str(outcome) for outcome in outcomes]


def test_nothing_is_put_on_disk_and_damaged_weights_are_named(
    tmp_path: Path, model: Any, parameters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    token_ids, mask = sentences(model.vocabulary)
    with Parties() as parties:
        parties.join()
        places = parties.load(tmp_path, model, parameters)
        inputs = parties.inputs(token_ids, mask)
        for _ in range(3):
            parties.run(inputs, *token_ids.shape)
            assert [os.fstat(worker._spu_log).st_size for worker in parties.workers] == [
                0,
                0,
                0,
            ]  # emptied as it is read
            assert list(scratch.iterdir()) == []
        path = places[0] / "classifier+weight.share"
        content = bytearray(path.read_bytes())
        content[-40] ^= 1
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"weight\.share: damaged"):
            parties.workers[0].load(model, "logits", places[0], "m")
        parties.run(inputs, *token_ids.shape)  # with the model that all of them have
    assert list(scratch.iterdir()) == []


def test_a_full_disk_stops_no_request(tmp_path: Path) -> None:
    """On a disk of its own, with not a byte left where this process and its workers would put anything."""
    program = f"""
import os, subprocess, sys, tempfile
from pathlib import Path
disk, shares = Path({str(tmp_path / "disk")!r}), Path({str(tmp_path)!r})
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
with (disk / "filling").open("wb", buffering=0) as filling:
    try:
        while filling.write(bytes(4096)):
            pass
    except OSError:
        pass
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from mpc.parties import Parties, architecture, random_parameters, sentences
model = architecture(layers=1)
token_ids, mask = sentences(model.vocabulary)
with Parties() as parties:
    os.environ["TMPDIR"] = tempfile.tempdir = str(disk)
    os.chdir(disk)
    parties.join()
    parties.load(shares, model, random_parameters(model))
    for _ in range(2):
        print(parties.predict(token_ids, mask).shape)
"""
    (tmp_path / "disk").mkdir()
    done = subprocess.run(["unshare", "-m", sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("only root may mount")
    assert done.stdout.splitlines() == ["(2, 2)"] * 2, done.stderr
