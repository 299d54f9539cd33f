"""Callers for locust: each asks one text after another, and insists on the answer that the text has."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

from locust import HttpUser, constant, task

ANSWERS: list[tuple[str, str]] = json.loads(Path(os.environ["DOOR_ANSWERS"]).read_text(encoding="utf-8"))
TURNS = itertools.count()


class Caller(HttpUser):
    """One of many."""

    wait_time = constant(0)

    @task
    def ask(self) -> None:
        text, label = ANSWERS[next(TURNS) % len(ANSWERS)]
        with self.client.post("/predict", json={"inputs": text}, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"lost: {response.status_code} {response.text[:200]}")
            elif response.json()[0]["label"] != label:
                response.failure("wrong")
