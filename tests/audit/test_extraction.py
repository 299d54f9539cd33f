"""What a student learns by asking, and points between texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from freediv.audit.asking.oracle import plain, sequences_of
from freediv.audit.asking.points import STEPS, Asking, spend
from freediv.audit.asking.student import fresh, pretrained
from freediv.audit.asking.texts import random_texts
from freediv.audit.whole import audit_model
from freediv.cli import group
from freediv.conversion.measures.predictions import answers_of
from freediv.errors import UserError
from freediv.model import Model, read_model
from tiny import make_tiny_model

LENGTH, SHORT = 32, 16


@pytest.fixture(scope="module", params=["public", "secret"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return read_model(make_tiny_model(tmp_path_factory.mktemp("tiny"), embedding=request.param, layers=1))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), embedding="public", layers=1)


def test_the_ends_of_a_line_between_texts_are_the_texts(victim: Model) -> None:
    sequences = sequences_of(victim, random_texts(victim, 60, 0, 0).queries, LENGTH)
    rows = [(a, b) for a in range(60) for b in range(a) if len(sequences[a]) == len(sequences[b])][:40]
    first, second = ([sequences[pair[side]] for pair in rows] for side in (0, 1))
    asking = Asking(victim)
    for t, texts in ((0.0, first), (1.0, second)):
        found = asking.ask(first, second, np.full(len(rows), t), "test")
        np.testing.assert_array_equal(found.labels, answers_of(victim, texts))


def test_queries_are_spent_to_the_last_and_close_in_on_where_the_label_turns(victim: Model) -> None:
    sequences = sequences_of(victim, random_texts(victim, 200, 0, 0).queries, LENGTH)
    points = spend(Asking(victim), sequences, 200, 0)
    assert len(points) == 200
    between = points.t > 0
    assert between.sum() >= STEPS
    assert between.sum() % STEPS == 0
    for pair in {
        (a.tobytes(), b.tobytes()) for a, b, is_one in zip(points.first, points.second, between, strict=True) if is_one
    }:
        own = [i for i in np.flatnonzero(between) if (points.first[i].tobytes(), points.second[i].tobytes()) == pair]
        label = points.labels[own]
        start = answers_of(victim, [points.first[own[0]]])[0]
        low = max([0.0, *points.t[own][label == start]])
        high = min([1.0, *points.t[own][label != start]])
        assert high - low == pytest.approx(2.0**-STEPS)


def test_a_data_owner_begins_with_what_is_public(victim: Model) -> None:
    attacker = fresh(victim, LENGTH, 0)
    words = attacker.start.parameters["embedding"]["word"]
    is_published = victim.architecture.embedding == "public"
    assert (words is not None and np.array_equal(words, victim.parameters["embedding"]["word"])) == is_published
    assert attacker.frozen == is_published
    secret = [np.asarray(x) for x in jax.tree.leaves(victim.parameters["classifier"]) if np.asarray(x).size > 2]
    own = [np.asarray(x) for x in jax.tree.leaves(attacker.start.parameters)]
    assert not any(np.array_equal(a, b) for a in secret for b in own)


def test_more_queries_teach_more(directory: Path, tmp_path: Path) -> None:
    model = read_model(directory)
    texts = random_texts(model, 500, 0, 1).queries
    labels = plain(model, SHORT, "label").answer(texts).labels
    path = tmp_path / "texts.jsonl"
    rows = [{"sentence": text, "label": int(label)} for text, label in zip(texts, labels, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    [finding] = audit_model(directory, ["extraction"], sizes=(20, 400), texts=path, longest=SHORT)
    few, many = (one["agreement"] for one in finding.measured["learned"])  # type: ignore[attr-defined]
    without: Any = finding.measured["without_asking"]
    assert many > few
    assert many > without["most_common_label"] + 0.04
    assert without["own_labels"]["agreement"] == many  # which are the model's here, so that nothing else differs
    assert "tell this attacker nothing" in finding.advice


def test_the_command_draws_and_prints_what_students_learned(directory: Path, tmp_path: Path) -> None:
    chart = tmp_path / "learned.svg"
    attacks = ["--attack", "extraction", "--attack", "continuous", "--output", "logits"]
    call = ["audit", str(directory), *attacks, "--queries", "40", "--longest", str(SHORT), "--chart", str(chart)]
    told = json.loads(CliRunner().invoke(group, [*call, "--json"], catch_exceptions=False).stdout)
    assert [one["attack"] for one in told["attacks"]] == ["extraction", "continuous"]
    for one in told["attacks"]:
        assert [learned["queries"] for learned in one["measured"]["learned"]] == [40]
        assert one["source"]
        assert one["advice"]
    assert "<svg" in chart.read_text(encoding="utf-8")


def test_an_attackers_own_encoder_is_the_student_under_a_new_classifier(directory: Path, tmp_path: Path) -> None:
    """`--student`: its word pieces and weights, and nothing of the model but the names of its labels."""
    own = make_tiny_model(tmp_path / "own", layers=2, seed=9, label_names=("no", "yes"))
    start = pretrained(own, read_model(directory), SHORT, 0).start
    theirs = read_model(own)
    assert start.directory == own
    assert start.architecture.label_names == ("negative", "positive")
    for stage in theirs.parameters.keys() - {"classifier"}:
        for name, value in theirs.parameters[stage].items():
            np.testing.assert_array_equal(start.parameters[stage][name], value)
    new, other = (np.abs(one.parameters["classifier"]["weight"]).max() for one in (start, theirs))
    assert new < 0.1 < other
    call = ["audit", str(directory), "--attack", "extraction", "--queries", "40", "--longest", str(SHORT), "--json"]
    done = CliRunner().invoke(group, [*call, "--student", str(own)], catch_exceptions=False)
    [told] = json.loads(done.stdout)["attacks"]
    assert told["measured"]["student"] == str(own)
    assert [learned["queries"] for learned in told["measured"]["learned"]] == [40]
    refused = CliRunner().invoke(group, [*call, "--student", str(tmp_path / "nowhere")]).exception
    assert isinstance(refused, UserError)
    assert "nowhere: not a model directory" in str(refused)


def test_a_chart_of_nothing_is_refused(directory: Path, tmp_path: Path) -> None:
    call = ["audit", str(directory), "--attack", "seek", "--chart", str(tmp_path / "chart.svg")]
    assert "--attack extraction" in str(CliRunner().invoke(group, call).exception)
