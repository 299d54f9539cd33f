"""Clients that nobody here wrote, for what a deployment of labels does not answer: each is told so in its own words."""

from __future__ import annotations

import openai
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tiny import SENTENCES

from .conftest import DoorProcess, shown

BODIES = {
    "/embed": {"inputs": list(SENTENCES)},
    "/rerank": {"query": SENTENCES[0], "texts": list(SENTENCES[1:])},
    "/similarity": {"inputs": {"source_sentence": SENTENCES[0], "sentences": list(SENTENCES[1:])}},
}


@pytest.mark.parametrize("path", BODIES)
def test_what_the_model_does_not_answer_is_refused_before_it_is_asked(door: DoorProcess, path: str) -> None:
    response = door.post(path, BODIES[path])
    assert response.status_code == 424, shown(response)
    assert response.json()["error_type"] == "Backend"
    assert response.json()["error"].endswith("it answers one label out of several")


def test_openais_client_is_told_what_the_model_is_not(door: DoorProcess) -> None:
    client = openai.OpenAI(base_url=f"{door.address}/v1", api_key="none", max_retries=0)
    with client, pytest.raises(openai.APIStatusError, match="is not an embedding model") as found:
        client.embeddings.create(model="test", input=list(SENTENCES))
    assert found.value.status_code == 424
    assert found.value.body == {
        "message": "the model is not an embedding model: it answers one label out of several",
        "code": 424,
        "type": "Backend",
    }


def test_huggingface_hubs_client_is_told_what_the_model_is_not(door: DoorProcess) -> None:
    client = InferenceClient(model=door.address)
    with pytest.raises(HfHubHTTPError, match="424"):
        client.sentence_similarity(SENTENCES[0], other_sentences=list(SENTENCES[1:]))


def test_the_model_may_be_asked_at_its_own_address_in_every_shape(
    door: DoorProcess, expected_labels: list[str]
) -> None:
    one, other = ({"score": None, "label": label} for label in expected_labels[:2])
    first, second = SENTENCES[:2]
    for inputs, parameters, wanted in (
        (first, None, [one]),
        ([[first], [second]], None, [[one], [other]]),
        (first, {}, [[one]]),
        ([first, second], {"top_k": 3, "function_to_apply": "softmax"}, [[one], [other]]),
        ([[first], [second]], {}, [[one], [other]]),
    ):
        body = {"inputs": inputs} | ({} if parameters is None else {"parameters": parameters})
        for path in ("/", "/models/test"):
            response = door.post(path, body)
            assert response.json() == wanted, shown(response)
    pair = door.post("/", {"inputs": {"text": first, "text_pair": second}, "parameters": {}})
    assert "is a pair" in pair.json()["error"]
