"""The faults: each is caused once, at one party, and repaired as an operator would."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from . import cut as network
from .dying import die_in_request, die_in_upload
from .outcomes import Attempt
from .prometheus import Prometheus
from .scene import Scene, wait_for
from .traffic import Traffic

_TRIES = 5
_NOTICED_S = 300.0
_FALSIFIED = 8
"""Requests that a party that deviates has a part in."""


@dataclass(frozen=True)
class Stage:
    """What a fault acts on, and with.

    Attributes:
        scene: the deployment.
        traffic: the requests that go on meanwhile.
        rank: the party that it hits.
        stop_s: seconds for which a party is stopped.
        model: what the model owner loads.
        load: loads it as the model owner.
        owners: folders of the model owner and of one data owner.
        sentences: for a request.
        prometheus: what watches the parties, where something does.
    """

    scene: Scene
    traffic: Traffic
    rank: int
    stop_s: float
    model: str | Path
    load: Callable[[], None]
    owners: tuple[Path, Path]
    sentences: tuple[str, ...]
    prometheus: Prometheus


@dataclass(frozen=True)
class Caused:
    """A fault that was caused and repaired: when the repair began (monotonic), and what whoever it hit was told."""

    repaired: float
    told: str = ""
    told_s: float = 0.0


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: for the command line.
        what: for people.
        cause: does it once.
        impossible: why it cannot be done here; empty where it can.
        falsifies: whether answers become wrong by it, and nobody can tell; it is injected only where it is named.
    """

    name: str
    what: str
    cause: Callable[[Stage], Caused]
    impossible: Callable[[Stage], str] = lambda stage: ""
    falsifies: bool = False


def _kill_worker(stage: Stage) -> Caused:
    """SIGKILL to a worker between two stages of a request."""
    for _ in range(_TRIES):
        worker = stage.scene.worker(stage.rank)
        killed = stage.traffic.in_mid_request(worker.kill, _NOTICED_S)
        at = time.monotonic()
        killed.over.wait(_NOTICED_S)
        if killed.outcome != "right":  # else all parties had finished already
            return Caused(at, killed.told, killed.ended - at)
        before = worker.pid
        wait_for(lambda: stage.scene.worker(stage.rank).pid != before or None, _NOTICED_S, "a new worker")  # noqa: B023
    raise UserError("no worker could be killed in the middle of a request; they are too fast")


def _kill_party(stage: Stage) -> Caused:
    """SIGKILL to a party in mid-request; it is started again once a client was told."""
    party = stage.scene.party(stage.rank)
    killed_at = [0.0]

    def kill() -> None:
        party.kill()
        killed_at[0] = time.monotonic()

    told = stage.traffic.in_mid_request(kill, _NOTICED_S)
    told.over.wait(_NOTICED_S)
    if told.outcome == "right":  # it had ended at all parties; the next one finds one of them gone
        told = _next_refusal(stage, killed_at[0])
    party.wait(_NOTICED_S)
    repaired = time.monotonic()
    stage.scene.start([stage.rank])
    return Caused(repaired, told.told, told.ended - killed_at[0])


def _stop_party(stage: Stage) -> Caused:
    """SIGSTOP to a party and its worker, and SIGCONT after a while."""
    with stage.scene.stopped(stage.rank):
        began = time.monotonic()
        time.sleep(stage.stop_s)  # this is the fault
    repaired = time.monotonic()
    told = stage.traffic.first(lambda one: one.outcome == "refused" and one.ended > began, 0.0)
    return Caused(repaired, told.told, told.ended - began) if told else Caused(repaired)


def _cut(stage: Stage) -> Caused:
    """No packet of a party's gateway reaches the next one's, until a client was told."""
    sender = stage.scene.link_end(stage.rank)
    receiver = stage.scene.link_end((stage.rank + 1) % stage.scene.size)
    assert sender is not None
    assert receiver is not None
    with network.cut(sender, receiver):
        began = time.monotonic()
        told = _next_refusal(stage, began)
    return Caused(time.monotonic(), told.told, told.ended - began)


def _cannot_cut(stage: Stage) -> str:
    sender, receiver = stage.scene.link_end(0), stage.scene.link_end(1)
    if sender is None or receiver is None:
        return "between parties on one machine there is no network to cut; give them gateways (`gateway: true`)"
    try:
        with network.cut(sender, receiver):
            return ""
    except network.NotPermitted as error:
        return str(error)


def _fill_disk(stage: Stage) -> Caused:
    """A party's disk fills while the model owner uploads; clients go on with the model that is there."""
    # In one party the very first file is too large, in the others some share.
    most = 1 if stage.rank == 1 else _bundle(stage).stat().st_size + 1
    began = time.monotonic()
    with stage.scene.unable_to_write(stage.rank, most):
        try:
            stage.load()
        except UserError as error:
            return Caused(time.monotonic(), str(error), time.monotonic() - began)
    raise UserError("a model was loaded although a party could not write its shares")


def _bundle(stage: Stage) -> Path:
    return stage.scene.share_file(stage.rank).parent / "bundle"


def _truncate(stage: Stage) -> Caused:
    path = stage.scene.share_file(stage.rank)
    os.truncate(path, path.stat().st_size // 2)
    return _until_loaded_again(stage, path)


def _flip(stage: Stage) -> Caused:
    path = stage.scene.share_file(stage.rank)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    return _until_loaded_again(stage, path)


def _until_loaded_again(stage: Stage, path: Path) -> Caused:
    """A damaged file is found when it is next read; its name is what the model owner needs."""
    began = time.monotonic()
    stage.scene.worker(stage.rank).kill()
    try:
        named = stage.traffic.first(
            lambda one: one.outcome == "refused" and one.ended > began and path.name in one.told, _NOTICED_S
        )
    finally:
        repaired = time.monotonic()
        stage.load()
    if named is None:
        raise UserError(f"no client was told of {path.name}, which is damaged")
    return Caused(repaired, named.told, named.ended - began)


def _restart_all(stage: Stage) -> Caused:
    """All parties are stopped and started, as when their host is."""
    stage.scene.local.stop()
    repaired = time.monotonic()
    stage.scene.start(range(stage.scene.size))
    told = stage.traffic.first(lambda one: one.outcome == "refused", _NOTICED_S)
    return Caused(repaired, told.told, told.seconds) if told else Caused(repaired)


def _restart_prometheus(stage: Stage) -> Caused:
    repaired = time.monotonic()
    stage.prometheus.restart()
    return Caused(repaired)


def _model_owner_dies(stage: Stage) -> Caused:
    before = {state.model_id for state in stage.scene.states()}
    die_in_upload(stage.owners[0], stage.model)
    repaired = time.monotonic()
    if {state.model_id for state in stage.scene.states()} != before:
        raise UserError("the parties use a model that its owner never finished")
    return Caused(repaired)


def _data_owner_vanishes(stage: Stage) -> Caused:
    die_in_request(stage.owners[1], stage.sentences)
    return Caused(time.monotonic())


def _deviate(stage: Stage) -> Caused:
    """A party favours the first label (`deviating_worker`) in so many requests; who is told of it has noticed."""
    with stage.scene.deviating(stage.rank):
        began = time.monotonic()
        found = stage.traffic.some(lambda one: one.began > began, _FALSIFIED, _NOTICED_S)
    noticed = next((one for one in found if one.outcome == "refused"), None)
    repaired = time.monotonic()
    return Caused(repaired, noticed.told, noticed.seconds) if noticed else Caused(repaired)


def _cannot_deviate(stage: Stage) -> str:
    products = stage.scene.local.parties[0].config.products
    return "" if products == "shares" else f"only products on shares have a party that deviates; here are {products}"


def _next_refusal(stage: Stage, since: float) -> Attempt:
    told = stage.traffic.first(lambda one: one.outcome != "right" and one.ended > since, _NOTICED_S)
    if told is None:
        raise UserError(f"no client noticed within {_NOTICED_S:g} s")
    return told


FAULTS = (
    Fault("kill-worker", "a worker killed in mid-layer", _kill_worker),
    Fault("kill-party", "a party killed", _kill_party),
    Fault("stop-party", "a party stopped, then let go on", _stop_party),
    Fault("cut", "one direction of the mesh cut", _cut, _cannot_cut),
    Fault("fill-disk", "a disk full in mid-upload", _fill_disk),
    Fault("truncate", "a share file truncated", _truncate),
    Fault("flip", "a bit of a share file flipped", _flip),
    Fault("restart-all", "all parties restarted at once", _restart_all),
    Fault("restart-prometheus", "Prometheus restarted", _restart_prometheus, lambda stage: stage.prometheus.problem()),
    Fault("model-owner-dies", "model owner dead in mid-upload", _model_owner_dies),
    Fault("data-owner-vanishes", "data owner gone in mid-request", _data_owner_vanishes),
    Fault("deviate", "a party that deviates", _deviate, _cannot_deviate, falsifies=True),
)
"""In the order in which they are injected."""


def faults_named(names: Collection[str]) -> tuple[Fault, ...]:
    """The faults of these names, in the usual order; all that falsify nothing, if none is named.

    Raises:
        UserError: there is none of a name.
    """
    known = [fault.name for fault in FAULTS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"there is no fault '{unknown[0]}'; there are {', '.join(known)}")
    return tuple(fault for fault in FAULTS if (fault.name in names if names else not fault.falsifies))
