"""Every row of the table that `freediv chaos` prints: what clients were told, and that the next answer is right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers.conftest import gated_topology
from deployment.conftest import Cluster, MakeCluster, assert_one_line_error, load, run_command
from freediv.chaos import FAULTS, Attempt, Injection, Rehearsal, Row, Scene, faults_named
from freediv.chaos.prometheus import Prometheus
from freediv.chaos.table import markdown
from freediv.chaos.traffic import Traffic
from freediv.cluster.configuration import Limits
from freediv.cluster.ports import free_ports
from freediv.deploy.local import DEPLOYMENT
from freediv.wire import protocol_pb2 as pb
from tiny import SENTENCES

Inject = Callable[..., Row]


@pytest.fixture(scope="module")
def prometheus(shared_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prometheus that watches the parties; of nothing, where it is not installed."""
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    program = shutil.which("prometheus")
    if program is None:
        yield address
        return
    directory = tmp_path_factory.mktemp("prometheus")
    targets = [f"127.0.0.1:{party.metrics_port}" for party in shared_cluster.topology.parties]
    jobs = [{"job_name": "freediv", "static_configs": [{"targets": targets}]}]
    configuration = {"global": {"scrape_interval": "500ms"}, "scrape_configs": jobs}
    (directory / "prometheus.yml").write_text(json.dumps(configuration))
    command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (directory / "log").open("wb") as log:
        command += [f"--web.listen-address=127.0.0.1:{port}"]
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
    yield address
    process.kill()
    process.wait()
    again = Prometheus(address, ()).process()
    if again is not None:
        again.kill()


def make_rehearsal(cluster: Cluster, model: Path, labels: list[str], prometheus: str) -> Rehearsal:
    return Rehearsal(
        Scene(cluster.directory, cluster.lifeline),
        (
            cluster.folder("model-owner"),
            tuple(map(cluster.folder, ("data-owner-alice", "data-owner-bob"))),
        ),
        model,
        dict(zip(SENTENCES, labels, strict=True)),
        patience_s=300,
        stop_s=3,
        prometheus=prometheus,
    )


@pytest.fixture(scope="module")
def rehearsal(shared_cluster: Cluster, tiny_model: Path, expected_labels: list[str], prometheus: str) -> Rehearsal:
    return make_rehearsal(shared_cluster, tiny_model, expected_labels, prometheus)


@pytest.fixture
def inject(cluster: Cluster, rehearsal: Rehearsal) -> Inject:
    def one(name: str, times: int = 1) -> Row:
        [row] = rehearsal.run(faults_named([name]), times)
        assert row.skipped or row.passed, row.to_dict()
        assert row.skipped or len(row.injections) == times
        return row

    return one


def test_a_worker_killed_in_mid_layer_is_named_and_replaced(cluster: Cluster, inject: Inject) -> None:
    before = cluster.local.states()
    row = inject("kill-worker")
    assert "party 1: the worker was ended by SIGKILL" in row.told
    after = cluster.local.states()
    assert len({state.epoch for state in after}) == 1
    assert after[0].epoch > before[0].epoch
    assert after[1].worker_restarts > before[1].worker_restarts


def test_a_party_killed_in_mid_request_is_named_and_needs_no_second_upload(cluster: Cluster, inject: Inject) -> None:
    model_id = cluster.local.states()[0].model_id
    row = inject("kill-party", times=2)  # then rank 0
    for rank, injection in zip((1, 0), row.injections, strict=True):
        assert injection.told == f"party {rank} went away while the request ran; send it again"
    assert any("party 1 at 127.0.0.1" in told and "nothing listens there" in told for told in row.to_dict()["all_told"])
    assert {state.model_id for state in cluster.local.states()} == {model_id}


@pytest.mark.alone
def test_a_party_that_stands_still_for_a_while_costs_no_answer(inject: Inject) -> None:
    row = inject("stop-party")
    # It was silent for less than the parties wait: the request that ran went on.
    assert row.count("right") == row.requests
    assert max(attempt.seconds for injection in row.injections for attempt in injection.attempts) > 3


def test_parties_on_one_machine_have_no_network_to_cut(inject: Inject) -> None:
    assert "no network to cut; give them gateways" in inject("cut").skipped


def test_a_direction_that_is_cut_is_named(
    make_cluster: MakeCluster, tiny_model: Path, expected_labels: list[str], prometheus: str
) -> None:
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("needs haproxy, which is not installed; `make test-setup` as root installs it")
    settings = gated_topology().model_dump(include={"gateway", "parties"})
    limits = Limits(arrival_s=5, connect_s=30, receive_s=5)
    cluster = make_cluster(**settings, output="label", data_owners=("alice", "bob"), limits=limits)
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    [row] = make_rehearsal(cluster, tiny_model, expected_labels, prometheus).run(faults_named(["cut"]), 1)
    cluster.local.stop()
    if row.skipped:
        pytest.skip(row.skipped)
    assert row.passed, row.to_dict()
    assert "nothing came from party-" in row.told


def test_a_full_disk_is_named_and_the_old_model_stays_in_use(cluster: Cluster, inject: Inject) -> None:
    model_id = cluster.local.states()[0].model_id
    row = inject("fill-disk", times=2)
    assert row.count("right") == row.requests
    for rank, injection in zip((1, 0), row.injections, strict=True):
        assert f"party {rank} at 127.0.0.1" in injection.told
        # Where the party ends the call while the owner still writes, gRPC may lose what it said.
        assert "cannot be written (File too large)" in injection.told or "see its log" in injection.told
    assert {state.model_id for state in cluster.local.states()} == {model_id}


@pytest.mark.parametrize("fault", ["truncate", "flip"])
def test_a_damaged_share_is_named_and_never_used(cluster: Cluster, fault: str, inject: Inject) -> None:
    row = inject(fault)
    assert ".share: damaged: have the model owner load the model again" in row.told
    again = cluster.folder("party-0") / "store" / cluster.local.states()[0].model_id / "bundle"
    assert pb.Bundle.FromString(again.read_bytes()).certificate  # as its owner had loaded it


def test_all_parties_restarted_serve_as_before(cluster: Cluster, inject: Inject) -> None:
    model_id = cluster.local.states()[0].model_id
    row = inject("restart-all")
    assert row.count("refused") > 0
    assert {state.model_id for state in cluster.local.states()} == {model_id}


def test_a_prometheus_that_is_restarted_disturbs_nobody(inject: Inject) -> None:
    row = inject("restart-prometheus")
    if row.skipped:
        assert "watches these parties" in row.skipped
        pytest.skip("needs the program prometheus (Debian: the package of that name), which is not installed")
    assert row.count("right") == row.requests


def test_a_model_owner_dead_in_mid_upload_leaves_the_old_model_in_use(
    cluster: Cluster, inject: Inject, tiny_model: Path
) -> None:
    model_id = cluster.local.states()[0].model_id
    row = inject("model-owner-dies")
    assert row.count("right") == row.requests
    assert {state.model_id for state in cluster.local.states()} == {model_id}
    # Its owner's next load goes on with that upload, and nothing of it is left.
    [kept] = (cluster.folder("model-owner") / "uploads").iterdir()
    cut = json.loads(kept.read_text())["model_id"]
    assert load(cluster.folder("model-owner"), tiny_model).model_id == cut
    assert not kept.exists()
    assert not list(cluster.directory.glob("party-*/store/incoming-*"))


def test_a_data_owner_gone_in_mid_request_disturbs_no_other(inject: Inject) -> None:
    row = inject("data-owner-vanishes")
    assert row.count("right") == row.requests


def test_a_party_that_favours_a_label_falsifies_answers_and_nobody_notices(cluster: Cluster, inject: Inject) -> None:
    """Who would find it changes what the README says of parties that deviate."""
    row = inject("deviate")
    during = [one for one in row.injections[0].attempts if one.outcome == "wrong"]
    assert during
    assert row.told == ""
    assert "no party and no owner was told" in markdown([row])
    logs = "".join(party.log.read_text(encoding="utf-8") for party in cluster.local.parties)
    assert "Traceback" not in logs
    party = Scene(cluster.directory).party(1)
    assert "deviating" not in " ".join([*party.cmdline(), *party.children()[0].cmdline()])


def test_a_party_that_deviates_ends_with_the_rehearsal(cluster: Cluster) -> None:
    """However that ends: here it is killed, and can put nothing right."""
    code = (
        "import sys, time; from pathlib import Path; from freediv.chaos.scene import LocalDeployment, Scene\n"
        "LocalDeployment.wait_until_linked = lambda *_: None\n"
        "with Scene(Path(sys.argv[1])).deviating(1):\n    print('here', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(cluster.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as rehearsal:
        assert rehearsal.stdout is not None
        assert rehearsal.stdout.readline() == b"here\n"
        party = Scene(cluster.directory).party(1)
        assert "freediv.chaos.deviating_party" in party.cmdline()
        rehearsal.kill()
    party.wait(60)


# --- what would be noticed ---


def test_wrong_and_late_answers_are_told_from_right_ones(cluster: Cluster, expected_labels: list[str]) -> None:
    folders, right = [cluster.folder("data-owner-alice")], dict(zip(SENTENCES, expected_labels, strict=True))
    wrong = {sentence: "positive" if label == "negative" else "negative" for sentence, label in right.items()}
    for answers, patience_s, outcome in ((right, 60.0, "right"), (wrong, 60.0, "wrong"), (right, 0.001, "lost")):
        with Traffic(folders, answers, patience_s) as traffic:
            assert traffic.first(lambda one: True, 60.0) is not None
            assert {attempt.outcome for attempt in traffic.stop()} == {outcome}


def test_what_is_left_behind_is_found(cluster: Cluster) -> None:
    scene = Scene(cluster.directory)
    assert scene.left_behind() == ()
    unfinished, torn = scene.store(1) / "incoming-x", scene.share_file(2).with_name(".classifier+bias.share.abc")
    unfinished.mkdir()
    assert scene.left_behind(0.0) == ()  # its owner may go on with it
    os.utime(unfinished, (0, 0))
    torn.touch()
    stray = subprocess.Popen(["sleep", "600"], env={DEPLOYMENT: str(scene.local.directory), "PATH": os.defpath})
    try:
        assert set(scene.left_behind(0.0)) == {str(unfinished), str(torn), f"process {stray.pid}"}
    finally:
        stray.kill()
        stray.wait()
        shutil.rmtree(unfinished, ignore_errors=True)
        torn.unlink()


# --- the command ---


def test_every_fault_has_a_test_here() -> None:
    text = Path(__file__).read_text()
    assert [fault.name for fault in FAULTS if f'"{fault.name}"' not in text] == []


def test_what_falsifies_answers_is_injected_only_where_it_is_named() -> None:
    assert [fault.name for fault in FAULTS if fault not in faults_named([])] == ["deviate"]
    assert [fault.name for fault in faults_named(["deviate"])] == ["deviate"]


@pytest.mark.parametrize(
    ("outcome", "recovery_s", "left", "passed"),
    [
        ("right", 1.0, (), True),
        ("refused", 1.0, (), True),
        ("wrong", 1.0, (), False),
        ("lost", 1.0, (), False),
        ("right", None, (), False),
        ("right", 1.0, ("process 1",), False),
    ],
)
def test_a_row_passes_only_if_nothing_is_wrong_lost_or_left(
    outcome: str, recovery_s: float | None, left: tuple[str, ...], passed: bool
) -> None:
    attempts = (Attempt(0.0, 1.0, "right"), Attempt(1.0, 4.0, outcome, "because" if outcome == "refused" else ""))
    row = Row("x", "something", (Injection(attempts, recovery_s, "", 0.0, left),))
    assert row.passed is passed
    assert row.requests == 2
    assert row.to_dict()["passed"] is passed
    assert f"| something | 1 | 2 | {row.count('right')} |" in markdown([row])
    assert ("LEFT BEHIND process 1" in markdown([row])) is bool(left)


def test_the_command_refuses_what_does_not_run_or_exist(cluster: Cluster, tiny_model: Path, tmp_path: Path) -> None:
    done = run_command("chaos", cluster.directory, "--model", tiny_model, "--fault", "earthquake")
    assert_one_line_error(done, "there is no fault 'earthquake'", "kill-worker")
    assert_one_line_error(run_command("chaos", tmp_path), "holds no data owner's folder")


def test_the_command_prints_a_table_and_ends_with_status_0(cluster: Cluster, tiny_model: Path) -> None:
    done = run_command("chaos", cluster.directory, "--model", tiny_model, "--fault", "fill-disk", "--json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert (row["fault"], row["injected"], row["wrong"], row["lost"], row["left"]) == ("fill-disk", 1, 0, 0, [])
    assert row["right"] == row["requests"] > 0
