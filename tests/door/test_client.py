"""A data owner's programs ask the parties themselves: from threads, tasks, and with all that may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import freediv
import numpy as np
import pytest
from deployment.conftest import Cluster, run_command, wait_for
from freediv.errors import UserError
from test_docs import FENCE
from test_interface import PAGE
from tiny import SENTENCES

MANY = SENTENCES * 16
"""Of more texts than a request of this deployment holds."""


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[freediv.Client]:
    with freediv.connect(cluster.folder("data-owner-alice")) as opened:
        yield opened


def test_a_text_gives_a_result_and_a_list_gives_a_list(client: freediv.Client, expected_labels: list[str]) -> None:
    one = client.classify(SENTENCES[0])
    assert (one.label, one.labels, one.answered) == (expected_labels[0], (expected_labels[0],), True)
    assert one.score is None and one.scores is None  # the parties reveal none
    several = client.classify(iter(SENTENCES))
    assert [found.label for found in several] == expected_labels
    assert [found.index for found in several] == list(range(len(SENTENCES)))
    assert [found.label for found in several[1:3]] == expected_labels[1:3]
    assert len(client.classify([SENTENCES[0]])) == 1
    assert (len(client.classify([])), client.classify([]).cost.seconds) == (0, 0.0)


def test_answers_and_costs_are_those_of_infer(client: freediv.Client, cluster: Cluster) -> None:
    texts = [word for text in SENTENCES for word in ("--text", text)]
    done = run_command("infer", cluster.directory, "--name", "alice", *texts, "--json")
    there = json.loads(done.stdout)
    here = client.classify(SENTENCES)
    assert [one.label for one in here] == [one["label"] for one in there["predictions"]]
    [request] = there["cost"]["requests"]
    stages = [stage["stage"] for stage in request["parties"][0]["stages"]]
    assert here.cost.run is not None
    assert [stage.stage for stage in here.cost.run.requests[0].parties[0].stages] == stages
    assert here.cost.upload_bytes == request["upload_bytes"]
    sent = sum(stage["sent_bytes"] for party in request["parties"] for stage in party["stages"]) / 3
    assert sent > 0 and here.cost.one_party.sent_bytes == pytest.approx(sent, rel=0.01)
    assert here.cost.one_party.messages > 0 and here.cost.seconds > 0
    assert {row.layer for row in here.cost.layers} == {None, 0, 1}
    assert here[0].cost is here.cost


def test_threads_that_ask_at_the_same_time_get_their_own_answers(
    client: freediv.Client, expected_labels: list[str]
) -> None:
    def ask(number: int) -> list[tuple[int, str | None]]:
        rows = [(number + step) % len(SENTENCES) for step in range(4)]
        alone = [(row, client.classify(SENTENCES[row]).label) for row in rows]
        together = client.classify([SENTENCES[row] for row in rows])
        return alone + [(row, one.label) for row, one in zip(rows, together, strict=True)]

    with ThreadPoolExecutor(8) as pool:
        found = [answer for answers in pool.map(ask, range(8)) for answer in answers]
    assert len(found) == 64
    assert all(label == expected_labels[row] for row, label in found)


def test_tasks_that_ask_at_the_same_time_get_their_own_answers(cluster: Cluster, expected_labels: list[str]) -> None:
    async def ask() -> list[freediv.Classification]:
        async with freediv.connect_async(cluster.directory, name="alice", at_once=4) as client:
            assert isinstance(client, freediv.AsyncClient)
            return await asyncio.gather(*(client.classify(text) for text in SENTENCES * 2))

    assert [one.label for one in asyncio.run(ask())] == expected_labels * 2


def test_progress_is_told_in_the_thread_that_asks(client: freediv.Client, expected_labels: list[str]) -> None:
    told = []
    found = client.classify(MANY, progress=lambda *counts: told.append((*counts, threading.current_thread())))
    assert [one.label for one in found] == expected_labels * 16
    done = [count for count, _, _ in told]
    assert len(done) > 1 and done == sorted(done) and done[-1] == len(MANY)
    assert {(total, thread) for _, total, thread in told} == {(len(MANY), threading.current_thread())}


def test_what_progress_raises_ends_the_call(client: freediv.Client) -> None:
    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.classify(MANY, progress=fail)
    assert client.classify(SENTENCES[0]).answered


def test_a_method_that_does_not_fit_costs_nothing(cluster: Cluster) -> None:
    with freediv.connect(cluster.directory, name="dave") as client:  # whose budget is 3
        for ask, name in ((client.tag, "tag"), (client.embed, "embed"), (client.score, "score")):
            with pytest.raises(UserError, match=f"`{name}` does not fit the model in use, .* out of several: use `cla"):
                ask(SENTENCES[0])
        with pytest.raises(UserError, match="`score` does not fit"):
            client.rerank(SENTENCES[0], SENTENCES[:2])
        assert len(client.classify(SENTENCES[:3])) == 3
        with pytest.raises(UserError, match="3"):
            client.classify(SENTENCES[0])


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["good", float("nan")], "text 2 is a float: a text is a str"),
        (3, "a int is no text"),
        (b"good", "a bytes is no text"),
        ({"text": "good"}, "a dict is no text"),
        (["good", " "], "sentence 2 is empty"),
        (("good", "bad"), "is a pair, and the model in use reads single texts"),
        ([["good", "bad"]], "sentence 1 is a pair"),
        ("good " * 100, "word pieces; .* truncate=True"),
    ],
)
def test_a_text_that_is_none_is_told(client: freediv.Client, texts: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        client.classify(texts)  # type: ignore[call-overload]


def test_what_is_too_long_is_cut_where_that_is_asked_for(client: freediv.Client) -> None:
    assert client.classify("good " * 100, truncate=True).answered


def test_a_folder_that_is_none_is_told(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory; make one with `freediv render`"):
        freediv.connect(tmp_path / "gone")
    with pytest.raises(UserError, match="holds several data-owners; give the folder of one"):
        freediv.connect(cluster.directory)
    with pytest.raises(UserError, match="is a model-owner's; a data owner's folder is needed"):
        freediv.connect(cluster.folder("model-owner"))
    with pytest.raises(UserError, match="at_once is 0"):
        freediv.connect(cluster.directory, name="alice", at_once=0)


def test_a_client_that_is_closed_says_so_and_ends_what_is_under_way(cluster: Cluster) -> None:
    client, begun = freediv.connect(cluster.directory, name="alice"), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.classify, MANY, progress=lambda done, total: begun.set())
        assert begun.wait(60)
        client.close()
        with pytest.raises(UserError, match="the client was closed before it had an answer"):
            asking.result(30)
    with pytest.raises(UserError, match="the client is closed; connect again"):
        client.classify(SENTENCES[0])
    client.close()
    assert client._thread not in threading.enumerate()

    async def ask() -> None:
        async with freediv.connect_async(cluster.directory, name="alice") as other:
            pass
        with pytest.raises(UserError, match="the client is closed; connect again"):
            await other.classify(SENTENCES[0])

    asyncio.run(ask())


PROGRAM = """
import sys, freediv
client = freediv.connect(sys.argv[1])
client.classify(["a warm and funny film"] * 4096, progress=lambda done, total: print(done, flush=True))
"""


def test_ctrl_c_ends_a_program_that_asks(cluster: Cluster, client: freediv.Client) -> None:
    command = [sys.executable, "-c", PROGRAM, str(cluster.folder("data-owner-alice"))]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None and running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGINT
    assert err.strip().splitlines()[-1] == "KeyboardInterrupt"
    assert client.classify(SENTENCES[0]).answered  # nothing of it is left with the parties


def test_answers_that_came_before_a_party_died_are_not_lost(
    cluster: Cluster, client: freediv.Client, expected_labels: list[str]
) -> None:
    def kill(done: int, total: int) -> None:
        process = cluster.local.parties[1].process()
        if process is not None:
            process.kill()

    try:
        with pytest.raises(freediv.PartlyAnswered, match=r"party 1 .* sentences were answered before that") as caught:
            client.classify(MANY, progress=kill)
    finally:
        cluster.up(1)
    found = caught.value.results
    assert 0 < len(found) < len(MANY)
    assert tuple(one.index for one in found) == caught.value.rows
    assert all(one.label == expected_labels[one.index % len(SENTENCES)] for one in found)
    assert found[0].cost.seconds > 0

    def answered() -> bool:
        with contextlib.suppress(UserError):
            return client.classify(SENTENCES[0]).label == expected_labels[0]
        return False

    wait_for(answered, "the same client is answered once the party is back")


# --- docs/python.md ---


def test_what_the_page_shows_of_a_client_runs(
    cluster: Cluster,
    client: freediv.Client,
    expected_labels: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    section = PAGE.read_text(encoding="utf-8").split("## A client")[1].split("\n## ")[0]
    code = "\n".join(match[3] for match in FENCE.finditer(section))
    space: dict[str, Any] = {"Path": Path, "freediv": freediv, "np": np}
    exec(compile(f"from __future__ import annotations\n{code}", str(PAGE), "exec"), space)
    folder, texts = cluster.folder("data-owner-alice"), list(SENTENCES)
    assert space["moods"](folder, texts) == expected_labels
    told = capsys.readouterr().out
    assert told.startswith("6 of 6\n") and "layer 0 attention " in told
    assert asyncio.run(space["moods_together"](folder, texts)) == expected_labels
    assert space["as_many_as_there_are"](client, texts) == dict(enumerate(expected_labels))
    assert space["pipeline"](client, texts) == [{"label": label, "score": None} for label in expected_labels]
    estimator = space["PrivateClassifier"](folder)
    assert estimator.predict(np.array(texts)).tolist() == expected_labels
    estimator.client.close()
    with (tmp_path / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["number", "text"], *enumerate(texts)])
    space["with_moods"](client, tmp_path / "texts.csv", tmp_path / "moods.csv")
    with (tmp_path / "moods.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["number"], row["mood"]) for row in rows] == [(str(n), mood) for n, mood in enumerate(expected_labels)]
