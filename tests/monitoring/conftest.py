"""Records of runs that never were, with figures that all differ, and a real browser to look at pages with."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from freediv.monitoring.costs import PartyCost, RequestCost, RunCost
from freediv.secure.records import StageRecord
from freediv.transformer import Architecture, LayerFunctions


def architecture(layers: int = 3) -> Architecture:
    functions = LayerFunctions(attention="2quad-freediv", activation="quad")
    return Architecture(
        vocabulary=8000,
        embedding_size=384,
        hidden=384,
        layers=layers,
        heads=12,
        intermediate=1536,
        positions=128,
        label_names=("negative", "positive"),
        functions=(functions,) * layers,
    )


def stage(name: str, layer: int | None, block: str, size: int, seconds: float) -> StageRecord:
    return StageRecord(
        stage=name,
        layer=layer,
        block=block,
        seconds=seconds,
        sent_bytes=size,
        received_bytes=size + 1000,
        sent_messages=size // 100_000 + 3,
        received_messages=size // 100_000 + 4,
    )


def party(rank: int, layers: int = 3, batch: int = 1) -> PartyCost:
    stages = [stage("embedding", None, "embedding", (310_000 + 700 * rank) * batch, 0.11)]
    for layer in range(layers):
        attention = (1_900_000 + 20_000 * layer + 3000 * rank) * batch
        feed_forward = (2_600_000 + 10_000 * layer + 5000 * rank) * batch
        stages += [
            stage(f"encoder.{layer}.attention", layer, "attention", attention, 0.09 + 0.004 * layer + 0.01 * rank),
            stage(f"encoder.{layer}.feed_forward", layer, "feed_forward", feed_forward, 0.13 + 0.003 * layer),
        ]
    stages.append(stage("classifier", None, "classifier", 41_000 * batch, 0.03))
    return PartyCost(
        rank=rank,
        stages=tuple(stages),
        link_sent_bytes=sum(s.sent_bytes for s in stages) + 1200,
        link_received_bytes=sum(s.received_bytes for s in stages) + 1200,
        link_sent_messages=sum(s.sent_messages for s in stages) + 2,
        link_received_messages=sum(s.received_messages for s in stages) + 2,
        peak_memory_bytes=(640 + rank) * 1_000_000,
    )


def make_run_cost(*, layers: int = 3, requests: int = 1, batch: int = 8, parties: int = 3) -> RunCost:
    return RunCost(
        created=datetime(2024, 5, 17, 9, 30, tzinfo=timezone.utc),
        command="demo",
        model="demo",
        architecture=architecture(layers),
        protocol="ABY3",
        field="FM64",
        fraction_bits=18,
        spu="0.9.5",
        output="label",
        requests=tuple(
            RequestCost(
                batch=batch + number,
                length=32,
                seconds=1.94 + number,
                preparation_seconds=0.7 * number,
                upload_bytes=6_300_000,
                parties=tuple(party(rank, layers, batch + number) for rank in range(parties)),
            )
            for number in range(requests)
        ),
    )


@pytest.fixture(scope="session")
def make_run() -> Callable[..., RunCost]:
    return make_run_cost


class Browser:
    """A page in headless Chromium, driven over the DevTools protocol on a pair of pipes: no port, no library."""

    def __init__(self, executable: str, profile: Path) -> None:
        command_out, self._commands = (_high(end) for end in os.pipe())
        self._events, event_in = (_high(end) for end in os.pipe())

        def attach() -> None:
            os.dup2(command_out, 3)
            os.dup2(event_in, 4)

        self._process = subprocess.Popen(
            [
                executable,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
            ],
            pass_fds=(3, 4),
            preexec_fn=attach,  # noqa: PLW1509  the child has no other threads yet
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_out)
        os.close(event_in)
        self._reader = os.fdopen(self._events, "rb")
        self._numbers = count(1)
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _message(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("Chromium ended")
            text += byte
        message: dict[str, Any] = json.loads(text)
        return message

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, page: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Load a page, and wait until it has loaded. Events of earlier pages are forgotten."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def requested(self) -> list[str]:
        """Every address that the page asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Everything that the console or the browser's log would show."""
        kinds = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
        return [json.dumps(event["params"]) for event in self.events if event["method"] in kinds]

    def close(self) -> None:
        self._session = None
        self.call("Browser.close")
        self._process.wait(timeout=30)
        self._reader.close()
        os.close(self._commands)


def _high(descriptor: int) -> int:
    """The same open file far from 3 and 4, which Chromium wants for itself."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return moved


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("needs Chromium, which is not installed; `make test-setup` as root installs it")
    browser = Browser(executable, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
