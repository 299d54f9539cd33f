"""A real browser to look at pages with."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import subprocess
from itertools import count
from pathlib import Path
from typing import Any


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

    def open(self, page: Path | str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Load a page, a file or an address, and wait until it has loaded. Events of earlier pages are forgotten."""
        self.look(width=width, height=height, scheme=scheme)
        self.events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._message())

    def look(self, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Have the page shown so."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key: str, *, text: str = "", shift: bool = False) -> None:
        """A key, as a keyboard sends it."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        pressed = {"key": key, "modifiers": 8 * shift, "windowsVirtualKeyCode": codes.get(key, 0)}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
        self.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def choose(self, selector: str, *files: Path) -> None:
        """Files, for an input that takes them."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """What is seen now, or the page as a `whole`, as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
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
        with contextlib.suppress(RuntimeError, OSError):  # it may be gone before it says so
            self.call("Browser.close")
        self._process.wait(timeout=30)
        self._reader.close()
        os.close(self._commands)


def _high(descriptor: int) -> int:
    """The same open file far from 3 and 4, which Chromium wants for itself."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return moved
