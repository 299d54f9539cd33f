"""Every kind of answer, through the clients that ask for it, as transformers answers in the clear."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import freediv
import numpy as np
import openai
import pytest
from browser import Browser
from deployment.conftest import Cluster
from freediv.model import read_model, write_model
from huggingface_hub import InferenceClient

from .asking_page import AskingPage
from .conftest import DoorProcess, serving, shown

FAMILIES = Path(__file__).resolve().parents[1] / "model" / "families"
ABSOLUTE = 0.05
"""What fixed-point numbers may make of a logit, or of a number of a vector, in two layers."""


def items_of(name: str) -> list[dict[str, Any]]:
    """Texts, and what transformers gives of them."""
    found: list[dict[str, Any]] = json.loads((FAMILIES / name / "expected.json").read_text(encoding="utf-8"))["items"]
    return found


@pytest.fixture(scope="module")
def program(own: Cluster) -> Iterator[freediv.Client]:
    """A program's, which stays connected while other models are served."""
    with freediv.connect(own.folder("data-owner")) as opened:
        yield opened


def test_embeddings(
    opened: DoorProcess, own: Cluster, program: freediv.Client, tmp_path: Path, browser: Browser
) -> None:
    model = tmp_path / "encoder"
    shutil.copytree(FAMILIES / "bert-encoder", model)
    modules = [
        {"idx": i, "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate((("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")))
    ]
    (model / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (model / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (model / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    serving(opened, own, model, "embedding")
    items = items_of("bert-encoder")
    texts = [item["texts"][0] for item in items]
    means = np.array([np.mean(item["output"], axis=0) for item in items])
    wanted = means / np.linalg.norm(means, axis=1, keepdims=True)

    found = opened.post("/embed", {"inputs": texts})
    np.testing.assert_allclose(found.json(), wanted, atol=ABSOLUTE)
    client = InferenceClient(model=opened.address)
    np.testing.assert_allclose(client.feature_extraction(texts[0]), wanted[:1], atol=ABSOLUTE)
    similar = client.sentence_similarity(texts[0], other_sentences=texts[1:])
    np.testing.assert_allclose(similar, wanted[1:] @ wanted[0], atol=ABSOLUTE)
    with openai.OpenAI(base_url=f"{opened.address}/v1", api_key="none", max_retries=0) as theirs:
        for form in ("float", "base64", openai.omit):
            answer = theirs.embeddings.create(model="kinds", input=texts, encoding_format=form)
            numbers = [
                np.frombuffer(__import__("base64").b64decode(one.embedding), "<f4")
                if isinstance(one.embedding, str)
                else one.embedding
                for one in answer.data
            ]
            np.testing.assert_allclose(numbers, wanted, atol=ABSOLUTE)
        assert answer.usage.prompt_tokens == sum(len(item["input_ids"]) for item in items)
        assert [one.index for one in answer.data] == list(range(len(texts)))
        few = theirs.embeddings.create(model="kinds", input=texts[0], dimensions=8).data[0].embedding
        np.testing.assert_allclose(few, wanted[0, :8] / np.linalg.norm(wanted[0, :8]), atol=2 * ABSOLUTE)
        with pytest.raises(openai.APIStatusError, match="32"):
            theirs.embeddings.create(model="kinds", input=texts, dimensions=33)
    assert opened.post("/predict", {"inputs": texts[0]}).status_code == 424
    [told] = opened.post("/answers", {"inputs": [texts[:1]]}).json()["answers"]
    np.testing.assert_allclose(told["entry"]["vector"], wanted[0], atol=ABSOLUTE)
    page = AskingPage(browser, opened)
    page.wait_for_models()
    page.type(texts[0])
    page.ask()
    assert page.rows()[0][2].startswith("32 numbers: ")
    saved = page.download("as-csv", tmp_path, "answers.csv", bytes).decode("utf-8-sig").splitlines()
    np.testing.assert_allclose([float(cell) for cell in saved[1].split(",")[-32:]], wanted[0], atol=ABSOLUTE)
    page.is_inert()

    vectors = program.embed(texts)
    np.testing.assert_allclose(
        np.stack([one.vector for one in vectors if one.vector is not None]), wanted, atol=ABSOLUTE
    )
    with pytest.raises(
        freediv.UserError, match="`classify` does not fit the model in use, which answers a vector: use `em"
    ):
        program.classify(texts)


def test_reranking(
    opened: DoorProcess, own: Cluster, program: freediv.Client, tmp_path: Path, browser: Browser
) -> None:
    folder = FAMILIES / "bert-reranker-one-logit"
    model = read_model(folder)
    pairs_of = model.architecture.model_copy(update={"separator_token": 3})
    write_model(replace(model, architecture=pairs_of), tmp_path / "model")
    shutil.copy(folder / "tokenizer.json", tmp_path / "model")
    serving(opened, own, tmp_path / "model", "reranker")
    pairs = [(item["texts"], item["output"][0]) for item in items_of(folder.name) if len(item["texts"]) == 2]
    for (query, text), logit in pairs:
        response = opened.post("/rerank", {"query": query, "texts": [text], "raw_scores": True})
        assert response.status_code == 200, shown(response)
        [rank] = response.json()
        assert rank == {"index": 0, "score": pytest.approx(logit, abs=ABSOLUTE)}
        [rank] = opened.post("/rerank", {"query": query, "texts": [text], "return_text": True}).json()
        assert rank == {"index": 0, "score": pytest.approx(1 / (1 + np.exp(-logit)), abs=ABSOLUTE), "text": text}
    ranks = opened.post("/rerank", {"query": pairs[0][0][0], "texts": ["no", pairs[0][0][1], "a film"]})
    assert sorted(one["index"] for one in ranks.json()) == [0, 1, 2], shown(ranks)
    scores = [one["score"] for one in ranks.json()]
    assert scores == sorted(scores, reverse=True)
    query, logits = pairs[0][0][0], [logit for _, logit in pairs]
    for (asked, text), logit in pairs:
        one = program.score((asked, text))
        assert one.score == pytest.approx(logit, abs=ABSOLUTE)
        assert one.probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=ABSOLUTE)
    assert [one.score for one in program.score([pair for pair, _ in pairs])] == pytest.approx(logits, abs=ABSOLUTE)
    found = program.rerank(query, ["no", pairs[0][0][1], "a film"])
    assert [one.index for one in found] == [one["index"] for one in ranks.json()]
    with pytest.raises(freediv.UserError, match="is one text, and the model in use reads pairs"):
        program.score(query)
    empty = opened.post("/rerank", {"query": "a film", "texts": []})
    assert (empty.status_code, empty.json()["error_type"]) == (400, "Empty")

    page = AskingPage(browser, opened)
    page.wait_for_models()
    (query, text), logit = pairs[0]
    page.type(f"{query} | {text}\n{query}\n{query}\t{text}")
    assert "2 texts answered" in page.ask()
    first, single, second = page.rows()
    assert first[1:3] == second[1:3] == [query, text]
    assert float(first[3]) == pytest.approx(logit, abs=ABSOLUTE)
    assert single[3] == "not asked: one of the two texts is missing"


def test_several_labels(opened: DoorProcess, own: Cluster, program: freediv.Client, browser: Browser) -> None:
    serving(opened, own, FAMILIES / "bert-multi-label", "classifier")
    names = ("toxic", "insult", "threat", "neutral")
    for item in items_of("bert-multi-label"):
        if len(item["texts"]) > 1 or np.abs(item["output"]).min() < ABSOLUTE:
            continue  # too close a call for fixed-point numbers
        found = InferenceClient(model=opened.address).text_classification(item["texts"][0])
        assert [one.label for one in found] == [n for n, logit in zip(names, item["output"], strict=True) if logit > 0]
        assert all(one.score is None for one in found)
        own_labels = program.classify(item["texts"][0])
        assert own_labels.labels == tuple(one.label for one in found)
        assert own_labels.label == (own_labels.labels[0] if own_labels.labels else None)
        assert own_labels.score is None and own_labels.answered
    page = AskingPage(browser, opened)
    page.wait_for_models()
    page.type(item["texts"][0])
    page.ask()
    [told] = opened.post("/answers", {"inputs": [item["texts"][:1]]}).json()["answers"]
    assert page.rows()[0][2].split("\n") == (told["entry"]["labels"] or ["none"])


def test_spans(opened: DoorProcess, own: Cluster, program: freediv.Client, browser: Browser) -> None:
    serving(opened, own, FAMILIES / "bert-tokens", "token_classifier")
    names = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    asked = 0
    for item in items_of("bert-tokens"):
        text, best = item["texts"][0], np.array(item["output"]).argmax(axis=1)[1:-1]
        found = InferenceClient(model=opened.address).token_classification(text)
        asked += len(found)
        assert {one.entity_group for one in found} <= {"PER", "LOC"}
        assert all(one.word == text[one.start : one.end] and one.score is None for one in found)
        spans = program.tag(text).spans
        assert [(one.label, one.start, one.end) for one in spans] == [(f.entity_group, f.start, f.end) for f in found]
        begun = [names[label] for label in best if names[label].startswith("B-")]
        assert len(begun) <= len(item["input_ids"])
        assert bool(found) == any(names[label] != "O" for label in best)
    assert asked
    page = AskingPage(browser, opened)
    page.wait_for_models()
    text = f"😀 {text}"  # which takes two of JavaScript's characters
    page.type(text)
    page.ask()
    page.frame()
    spans = InferenceClient(model=opened.address).token_classification(text)
    shown = """[...document.querySelectorAll("mark")].map(one => [one.firstChild.data, one.lastChild.textContent])"""
    assert page.do(shown) == [[one.word, one.entity_group] for one in spans]
    page.is_inert()
