"""Many data owners at once over one deployment: nobody is starved, nothing is lost, and every answer is right."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from freediv.cluster.configuration import Limits, read_owner_config
from freediv.errors import UserError
from freediv.owners.data_owner import Progress, classify, infer
from freediv.owners.model_owner import load
from tiny import SENTENCES

from .conftest import Cluster, MakeCluster, assert_one_line_error, run_command, wait_for, worker_pid

OWNERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
QUOTAS = {"erin": {"budget": 5}, "frank": {"sentences_per_minute": 600}}


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    owners = [{"name": name, "quota": QUOTAS.get(name)} for name in OWNERS]
    cluster = make_cluster(output="logits", data_owners=owners, limits=Limits(waiting_requests=4, connect_s=30))
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    return cluster


def ask(cluster: Cluster, owner: str, sentences: tuple[str, ...], told: list[Progress] | None = None) -> list[str]:
    steps = [] if told is None else told
    answers = infer(cluster.folder(f"data-owner-{owner}"), sentences, on_progress=steps.append)
    return [one.name for one in answers.predictions]


def shown(cluster: Cluster, rank: int) -> dict[str, float]:
    """What a party's /metrics says, by sample."""
    url = f"http://127.0.0.1:{cluster.local.parties[rank].config.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


@contextmanager
def nothing_is_finished(cluster: Cluster) -> Iterator[None]:
    """Requests wait, because the worker of party 2 is stopped."""
    worker = worker_pid(cluster, 2)
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def test_a_data_owner_that_is_sent_away_from_a_full_queue_comes_back_by_itself(
    cluster: Cluster, expected_labels: list[str]
) -> None:
    told: list[Progress] = []
    with ThreadPoolExecutor(5) as pool:
        with nothing_is_finished(cluster):
            asked = [pool.submit(ask, cluster, "alice", SENTENCES[:1]) for _ in range(2)]
            wait_for(lambda: cluster.local.states()[0].waiting_requests == 2, "alice's requests wait")
            third = pool.submit(ask, cluster, "alice", SENTENCES[1:2], told)
            wait_for(lambda: any("busy; asking again" in one.step for one in told), "alice is sent away")
            asked.append(pool.submit(ask, cluster, "bob", SENTENCES[:1]))  # who finds a place, nevertheless
            wait_for(lambda: cluster.local.states()[0].waiting_requests == 3, "bob's request waits")
            seen = shown(cluster, 0)
        assert (seen["freediv_waiting_requests"], seen["freediv_waiting_requests_limit"]) == (3, 4)
        assert max(shown(cluster, rank)['freediv_turned_away_total{limit="places"}'] for rank in range(3)) > 0
        assert [one.result(120) for one in asked] == [expected_labels[:1]] * 3
        assert third.result(120) == expected_labels[1:2]


def test_a_data_owner_that_may_not_wait_so_long_is_told(cluster: Cluster) -> None:
    hurried = read_owner_config(cluster.folder("data-owner-carol")).model_copy(update={"request_s": 0.5})
    with ThreadPoolExecutor(4) as pool, nothing_is_finished(cluster):
        asked = [pool.submit(ask, cluster, owner, SENTENCES[:1]) for owner in ("alice", "bob", "dave", "heidi")]
        wait_for(lambda: cluster.local.states()[0].waiting_requests == 4, "the queue is full")
        with pytest.raises(
            UserError, match=r"holds 4 of at most 4 requests, none of yours; come back in \d+ s; gave up"
        ):
            asyncio.run(classify(hurried, SENTENCES[:1]))
    for one in asked:
        one.result(120)


def test_requests_that_wait_together_share_a_run_and_get_their_own_answers(
    cluster: Cluster, expected: np.ndarray
) -> None:
    parts = {"alice": (0, 1), "bob": (1, 2), "carol": (2, 4)}
    with ThreadPoolExecutor(4) as pool:
        with nothing_is_finished(cluster):
            first = pool.submit(infer, cluster.folder("data-owner-dave"), SENTENCES[5:])
            wait_for(lambda: cluster.local.states()[0].computing, "dave's request runs")
            asked = {
                owner: pool.submit(infer, cluster.folder(f"data-owner-{owner}"), SENTENCES[start:end])
                for owner, (start, end) in parts.items()
            }
            wait_for(lambda: all(s.waiting_requests == 4 for s in cluster.local.states()), "the others wait")
        assert first.result(120).requests[0].run_requests == 1
        found = {owner: one.result(120) for owner, one in asked.items()}
    for owner, (start, end) in parts.items():
        [request] = found[owner].requests
        assert (request.batch, request.run_requests, request.run_sentences) == (end - start, 3, 4)
        logits = np.array([one.logits for one in found[owner].predictions])
        assert np.abs(logits - expected[start:end]).max() < 0.02


def test_eight_data_owners_at_once_lose_nothing_and_get_the_answers_that_they_get_alone(
    cluster: Cluster, expected: np.ndarray
) -> None:
    owners = [owner for owner in OWNERS if owner != "erin"] + ["alice"]

    def requests(number: int) -> list[np.ndarray]:
        found = []
        for turn in range(3):
            row = (number + turn) % len(SENTENCES)
            answers = infer(cluster.folder(f"data-owner-{owners[number]}"), [SENTENCES[row]])
            found.append(np.array(answers.predictions[0].logits) - expected[row])
        return found

    with ThreadPoolExecutor(len(owners)) as pool:
        errors = [error for found in pool.map(requests, range(len(owners))) for error in found]
    assert len(errors) == 24
    assert np.abs(errors).max() < 0.02


def test_a_budget_is_spent_refused_and_shown_and_a_restart_does_not_refill_it(
    cluster: Cluster, expected_labels: list[str]
) -> None:
    assert ask(cluster, "erin", SENTENCES[:3]) == expected_labels[:3]
    cluster.local.stop()
    cluster.up()
    done = run_command(
        "infer", cluster.folder("data-owner-erin"), "--text", "a film", "--text", "music", "--text", "it"
    )
    assert_one_line_error(
        done, "of the 5 sentences that data-owner/erin may ask of this model 2 are left, and 3 were sent"
    )
    assert max(shown(cluster, rank)['freediv_turned_away_total{limit="budget"}'] for rank in range(3)) == 1
    assert shown(cluster, 0)["freediv_least_budget_left_ratio"] == 0.4
    assert ask(cluster, "erin", SENTENCES[3:5]) == expected_labels[3:5]
    said = run_command("status", cluster.directory).stdout
    assert "data-owner/erin has left: 0 of 5 sentences of this model" in said
    assert "data-owner/frank has left: 600 now, at 600 a minute" in said
    assert "frank" not in run_command("status", cluster.folder("data-owner-erin")).stdout


def test_the_load_test_reports_throughput_latency_memory_and_no_wrong_answer(cluster: Cluster, tmp_path: Path) -> None:
    chart = tmp_path / "load.svg"
    done = run_command(
        "load-test", cluster.directory, "--owners=4", "--requests=3", "--length=16", "--json", f"--chart={chart}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["answered"], found["wrong"], found["errors"]) == (12, 0, {})
    assert found["latency_seconds"]["p50"] <= found["latency_seconds"]["p99"] <= found["seconds"]
    assert found["sentences_per_second"] == pytest.approx(12 / found["seconds"])
    assert all(party["memory_at_end"] > 100 << 20 for party in found["parties"])
    assert "<svg" in chart.read_text()


def test_the_load_test_tells_what_was_not_answered(cluster: Cluster) -> None:
    done = run_command("load-test", cluster.folder("data-owner-erin"), "--owners=1", "--requests=1", "--length=16")
    assert_one_line_error(done, "may ask of this model 0 are left")
    assert_one_line_error(run_command("load-test", cluster.directory, "--length=17"), "--length 17", "16, 32")
