"""A model and sentences through three parties, and what can be seen from outside."""

from __future__ import annotations

import json
import shutil
import stat
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from freediv.conversion.cards.card import read_card
from freediv.model import Model, hidden_states, read_model, write_model
from freediv.owners import served_model as served
from freediv.owners.data_owner import Answers, infer
from freediv.owners.model_owner import load
from tiny import PAIRS, SENTENCES, make_tiny_model, plain_logits
from tokenizers import Tokenizer

from .conftest import Cluster, MakeCluster, assert_one_line_error, run_command

LONGER = " ".join(["a warm and funny film and"] * 3)  # 20 word pieces: another bucket


@pytest.fixture(scope="module")
def cluster(make_cluster: MakeCluster, tiny_model: Path) -> Cluster:
    cluster = make_cluster(output="logits", max_batch=4)
    cluster.up()
    load(cluster.folder("model-owner"), tiny_model)
    return cluster


@pytest.fixture(scope="module")
def answers(cluster: Cluster) -> Answers:
    return infer(cluster.folder("data-owner"), SENTENCES)


def test_private_logits_are_those_of_the_model_in_the_clear(answers: Answers, expected: np.ndarray) -> None:
    found = np.array([prediction.logits for prediction in answers.predictions])
    assert np.abs(found - expected).max() < 0.02


def test_sentences_are_batched_up_to_the_agreed_size(answers: Answers) -> None:
    assert [(request.batch, request.length) for request in answers.requests] == [(4, 16), (2, 16)]


def test_answers_come_in_the_order_of_the_sentences_whatever_their_buckets(
    cluster: Cluster, expected: np.ndarray
) -> None:
    mixed = infer(cluster.folder("data-owner"), [SENTENCES[0], LONGER, SENTENCES[5]])
    assert [(request.batch, request.length) for request in mixed.requests] == [(2, 16), (1, 32)]
    found = np.array([mixed.predictions[0].logits, mixed.predictions[2].logits])
    assert np.abs(found - expected[[0, 5]]).max() < 0.02


def test_stages_add_up_to_what_the_link_counted(answers: Answers) -> None:
    for request in answers.requests:
        for party in request.parties:
            in_stages = sum(stage.sent_bytes for stage in party.stages)
            assert in_stages == pytest.approx(party.link.sent_bytes, rel=0.01)


def test_what_parties_sent_the_others_received(answers: Answers) -> None:
    for request in answers.requests:
        sent = sum(party.link.sent_bytes for party in request.parties)
        received = sum(party.link.received_bytes for party in request.parties)
        assert sent == pytest.approx(received, rel=0.01)
        names = {tuple(stage.stage for stage in party.stages) for party in request.parties}
        assert len(names) == 1


def test_upload_is_counted(answers: Answers) -> None:
    request = answers.requests[0]
    keys = request.batch * 2 * (3 * request.length + 1) * 32  # of each piece for three pairs, and of the length for one
    assert keys < request.upload_bytes < keys + 100


def test_every_party_serves_metrics_of_each_layer(cluster: Cluster, answers: Answers) -> None:
    for party in cluster.topology.parties:
        url = f"http://127.0.0.1:{party.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            text = response.read().decode()
        assert "freediv_link_up 1.0" in text
        assert 'freediv_layer_sent_bytes_total{block="attention",layer="1"}' in text
        assert 'attention="2quad-freediv"' in text
        assert 'freediv_requests_total{outcome="failed"} 0.0' in text


def test_weight_shares_are_for_their_party_only(cluster: Cluster) -> None:
    for party in cluster.local.parties:
        files = list((party.folder / "store").rglob("*.share"))
        assert files
        for path in files:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_parties_write_no_text_anywhere(cluster: Cluster, answers: Answers) -> None:
    words = [word.encode() for sentence in SENTENCES for word in sentence.split() if len(word) > 4]
    for party in cluster.local.parties:
        assert party.log.stat().st_size > 0
        assert not any(word in party.log.read_bytes() for word in words)


def test_the_public_bundle_is_fetched_once_and_again_only_where_it_was_damaged(
    cluster: Cluster, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cluster.folder("data-owner")
    fetched: list[int] = []
    fetch = served._bundle

    async def counted(*arguments: Any) -> bytes:
        bundle = await fetch(*arguments)
        fetched.append(len(bundle))
        return bundle

    monkeypatch.setattr(served, "_bundle", counted)
    kept = (folder / "bundle").read_bytes()
    labels = [prediction.value for prediction in answers.predictions]

    def answered() -> list[int]:
        return [prediction.value for prediction in infer(folder, SENTENCES).predictions]

    assert answered() == labels
    assert fetched == []
    (folder / "bundle").write_bytes(kept[:-1] + b"?")
    assert answered() == labels
    assert fetched == [len(kept)]
    assert (folder / "bundle").read_bytes() == kept

    (folder / "bundle").unlink()
    (folder / "bundle").mkdir()  # as in a folder that cannot be written, root's own included
    assert answered() == labels
    (folder / "bundle").rmdir()
    assert fetched == [len(kept)] * 2


def test_another_model_replaces_the_first_on_all_parties_which_keep_it(
    cluster: Cluster, answers: Answers, tmp_path: Path
) -> None:
    [before] = {state.model_id for state in cluster.local.states()}
    model = make_tiny_model(tmp_path / "public", embedding="public", seed=8)
    loading = load(cluster.folder("model-owner"), model)
    states = cluster.local.states()
    assert {state.model_id for state in states} == {state.loaded for state in states} == {loading.model_id}
    assert loading.model_id != before
    for party in cluster.local.parties:
        kept = {path.name for path in (party.folder / "store").iterdir() if path.is_dir()}
        assert kept == {loading.model_id, before, "spent"}
    again = infer(cluster.folder("data-owner"), SENTENCES)
    assert again.architecture.embedding == "public"
    assert again.requests[0].parties[0].stages[0].stage == "embedding"


def test_commands_classify_a_file_and_tell_the_status(cluster: Cluster, tmp_path: Path) -> None:
    file, page = tmp_path / "sentences.txt", tmp_path / "page.html"
    file.write_text("\n".join([*SENTENCES[:2], "", SENTENCES[5]]) + "\n")
    done = run_command("infer", cluster.directory, "--file", file, "--json", "--report", page)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [entry["text"] for entry in found["predictions"]] == [*SENTENCES[:2], SENTENCES[5]]
    assert found["cost"]["requests"][0]["batch"] == 3
    assert all(sentence not in page.read_text() for sentence in SENTENCES[:2])  # only with --with-sentences
    done = run_command("status", cluster.directory, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["ready"] is True
    done = run_command("logs", cluster.directory, "--party", "1", "--lines", "500")
    assert "party-1 | " in done.stdout
    assert "party-0 | " not in done.stdout


def test_a_sentence_beyond_a_limit_gets_no_answer(cluster: Cluster, tmp_path: Path) -> None:
    made = make_tiny_model(tmp_path / "limited", attention_norm="layernorm-constant", row_limits=True)
    model = read_model(made)
    tokenizer = Tokenizer.from_file(str(made / "tokenizer.json"))
    rows = {text: longest_row(model, tokenizer, text, "encoder.0.attention") for text in SENTENCES}
    texts = sorted(rows, key=rows.__getitem__)
    limit = np.sqrt(rows[texts[0]] * rows[texts[1]])  # between the shortest and the next
    model.parameters["classifier"]["limits"] = np.array([limit, 1e6], np.float32)
    write_model(model, made)
    assert run_command("load", cluster.directory, made).returncode == 0  # it needs no other headroom than is measured
    command = ("infer", cluster.directory, *(part for text in texts for part in ("--text", text)))
    found = json.loads(run_command(*command, "--json").stdout)["predictions"]
    expected = plain_logits(model, tokenizer, texts[0])
    assert found[0]["label"] == model.architecture.label_names[expected.argmax()]
    np.testing.assert_allclose(found[0]["logits"], expected, atol=0.02)
    assert all(one["label"] is None and "logits" not in one for one in found[1:])
    shown = run_command(*command).stdout
    assert "no answer" in shown and "5 without an answer" in shown


def longest_row(model: Model, tokenizer: Tokenizer, text: str, stage: str) -> float:
    """The largest mean square of a row where a norm without its root leaves it."""
    ids = np.array([tokenizer.encode(text).ids], np.int32)
    seen: dict[str, Any] = {}
    hidden_states(
        model.architecture,
        model.parameters,
        {"token_ids": ids, "mask": np.ones_like(ids)},
        observe=seen.__setitem__,
    )
    return float(np.exp(seen[f"{stage}/log_variance_g2"]).max())


def test_pairs_of_three_classes_are_answered_as_in_the_clear(cluster: Cluster, tmp_path: Path) -> None:
    names = ("contradiction", "entailment", "neutral")
    directory = make_tiny_model(tmp_path / "pairs", separator_token=3, label_names=names)
    model = read_model(directory)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    wanted = np.stack([plain_logits(model, tokenizer, pair) for pair in PAIRS])
    load(cluster.folder("model-owner"), directory)
    found = infer(cluster.folder("data-owner"), PAIRS).predictions
    assert np.abs(np.array([one.logits for one in found]) - wanted).max() < 0.02
    assert [one.name for one in found] == [names[label] for label in wanted.argmax(-1)]

    rows = "".join(f"{a},{b},{one.name}\n" for (a, b), one in zip(PAIRS, found, strict=True))
    (tmp_path / "pairs.csv").write_text(f"first,second,label\n{rows}")
    columns = ("--text-column", "first", "--text-column", "second")
    done = run_command("infer", cluster.directory, "--pair", *PAIRS[0], "--file", tmp_path / "pairs.csv", *columns)
    assert done.returncode == 0, done.stderr
    assert " | ".join(PAIRS[0]) in done.stdout and "7 sentences" in done.stdout
    for name in ("README.md", "measurements.json"):
        shutil.copyfile((read_model("demo").directory or tmp_path) / name, directory / name)
    done = run_command(
        "evaluate", directory, "--data", tmp_path / "pairs.csv", *columns, "--secure", cluster.directory, "--json",
        "--card",
    )  # fmt: skip
    assert read_card(directory)["secure"]["correct"] == len(PAIRS)
    assert json.loads(done.stdout)["accuracy"] == json.loads(done.stdout)["agreement"] == 1
    assert_one_line_error(
        run_command("infer", cluster.directory, "--text", "good"), "sentence 1 is one text", "pairs", "--pair"
    )
    assert_one_line_error(
        run_command("evaluate", directory, "--data", tmp_path / "pairs.csv", "--text-column", "first"),
        "the model reads pairs of texts: name both columns",
    )
