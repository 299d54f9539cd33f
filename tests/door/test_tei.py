"""The door speaks as text-embeddings-inference does: paths, fields, shapes, limits, errors."""

from __future__ import annotations

import subprocess

import pytest
from huggingface_hub import InferenceClient
from tiny import SENTENCES

from .conftest import DoorProcess, shown


def test_one_text_is_classified(door: DoorProcess, expected_labels: list[str]) -> None:
    for text, label in zip(SENTENCES, expected_labels, strict=True):
        response = door.post("/predict", {"inputs": text})
        assert response.status_code == 200, shown(response)
        assert response.json() == [{"score": None, "label": label}]


def test_many_texts_are_classified_in_their_order(door: DoorProcess, expected_labels: list[str]) -> None:
    many = [[text] for text in SENTENCES * 4]
    response = door.post("/predict", {"inputs": many, "raw_scores": False, "truncate": False})
    assert response.json() == [[{"score": None, "label": label}] for label in expected_labels * 4]


@pytest.mark.parametrize(
    ("body", "status", "kind", "words"),
    [
        ({"inputs": ["a", "b"]}, 413, "Validation", "is a pair"),
        ({"inputs": [["a"], ["b", "c"]]}, 413, "Validation", "text 1 is a pair"),
        ({"inputs": " "}, 400, "Empty", "empty"),
        ({"inputs": [["good"], [""]]}, 400, "Empty", "text 1 is empty"),
        ({"inputs": []}, 422, "Validation", "inputs"),
        ({"inputs": ["a", "b", "c"]}, 422, "Validation", "inputs"),
        ({"inputs": 3}, 422, "Validation", "inputs"),
        ({"texts": "a"}, 422, "Validation", "inputs"),
        ({"inputs": "\ud800 film"}, 413, "Validation", "half a character"),
        ({"inputs": "good " * 100}, 413, "Validation", "word pieces"),
        ({"inputs": "x" * 100_001}, 413, "Validation", "100000 characters"),
        ({"inputs": [["good"]] * 257}, 413, "Validation", "batch size 257 > maximum allowed batch size 256"),
        ({"inputs": "good " * 100, "truncate": True, "truncation_direction": "Left"}, 422, "Tokenizer", "Right"),
    ],
)
def test_what_cannot_be_classified_is_refused_in_their_words(
    door: DoorProcess, body: dict[str, object], status: int, kind: str, words: str
) -> None:
    response = door.post("/predict", body)
    assert response.status_code == status, shown(response)
    assert response.json()["error_type"] == kind
    assert words in response.json()["error"]
    assert set(response.json()) == {"error", "error_type"}


def test_what_is_too_long_is_cut_where_that_is_asked_for(door: DoorProcess) -> None:
    response = door.post("/predict", {"inputs": "good " * 100, "truncate": True})
    assert response.status_code == 200, shown(response)


def test_info_says_what_is_served_in_their_fields(door: DoorProcess) -> None:
    info = door.get("/info").json()
    assert info["model_id"] == "test"
    assert info["model_type"]["classifier"]["id2label"] == {"0": "negative", "1": "positive"}
    assert info["model_type"]["classifier"]["label2id"] == {"negative": 0, "positive": 1}
    assert info["max_input_length"] == 32
    assert info["max_client_batch_size"] == 256
    assert {"model_sha", "model_dtype", "max_concurrent_requests", "max_batch_tokens", "version"} <= set(info)


def test_the_same_is_there_under_the_models_name(door: DoorProcess, expected_labels: list[str]) -> None:
    response = door.post("/models/test/predict", {"inputs": SENTENCES[0]})
    assert response.json() == [{"score": None, "label": expected_labels[0]}]
    assert door.get("/models/test/health").status_code == 200
    other = door.post("/models/other/predict", {"inputs": SENTENCES[0]})
    assert other.status_code == 404
    assert "there are: test" in other.json()["error"]


def test_huggingface_hubs_client_classifies(door: DoorProcess, expected_labels: list[str]) -> None:
    for address in (door.address, f"{door.address}/models/test"):
        [found] = InferenceClient(model=address).text_classification(SENTENCES[0], top_k=1)
        assert (found.label, found.score) == (expected_labels[0], None)


def test_curl_is_answered(door: DoorProcess, expected_labels: list[str]) -> None:
    command = ["curl", "--silent", "--fail", f"{door.address}/predict", "--json", '{"inputs": "a warm and funny film"}']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f'[{{"score":null,"label":"{expected_labels[0]}"}}]'
