"""The door's page, as somebody with a browser uses it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser import Browser

from .conftest import DoorProcess

NOTE_WHAT_IS_ASKED = """(() => {
    window.asked = [];
    const real = window.fetch;
    window.fetch = (path, options) => {
        if (options?.body)
            window.asked.push(typeof options.body === "string" ? JSON.parse(options.body).inputs : options.body.size);
        return real(path, options);
    };
})()"""


class AskingPage:
    """The page, open in a browser."""

    def __init__(self, browser: Browser, door: DoorProcess, **look: Any) -> None:
        self.browser, self.door = browser, door
        browser.open(f"{door.address}/", **look)
        self.do(NOTE_WHAT_IS_ASKED)

    def do(self, script: str) -> Any:
        return self.browser.evaluate(script)

    def wait(self, script: str, seconds: float = 200) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := self.do(script)):
            assert time.monotonic() < deadline, f"waited in vain: {script}; the page says {self.said()!r}"
            time.sleep(0.05)
        return found

    def wait_for_models(self) -> None:
        self.wait("document.getElementById('about').textContent.includes('answers')")

    def text(self, name: str) -> str:
        return self.do(f"document.getElementById({name!r}).textContent")

    def said(self) -> str:
        return self.text("said")

    def click(self, name: str) -> None:
        self.do(f"document.getElementById({name!r}).click()")

    def type(self, text: str) -> None:
        """Into the field, in place of what is there."""
        self.do("(() => { const field = document.getElementById('texts'); field.focus(); field.select(); })()")
        self.browser.call("Input.insertText", text=text)

    def choose(self, path: Path, column: str | None = None) -> None:
        self.browser.choose("#file", path)
        self.wait(f"document.getElementById('table-name').textContent === {json.dumps(path.name)}")
        if column is not None:
            self.do(
                f"""(() => {{ const select = document.getElementById('first');
                select.value = [...select.options].find(one => one.text === {json.dumps(column)}).value;
                select.dispatchEvent(new Event('change')); }})()"""
            )

    def ask(self, *, end: str = "answered in") -> str:
        """Ask, and wait until the page says so much."""
        self.click("ask")
        self.wait(f"document.getElementById('said').textContent.includes({end!r})")
        return self.said()

    def rows(self) -> list[list[str]]:
        """The cells of all rows, from all pages of the table."""
        found = []
        while True:
            self.frame()
            found += self.do(
                "[...document.querySelectorAll('#answers-body tr')].map(r => [...r.children].map(c => c.innerText))"
            )
            if self.do("document.getElementById('pages').hidden || document.getElementById('next').disabled"):
                return found
            self.click("next")

    def frame(self) -> None:
        """Until what has changed is shown."""
        self.do("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def download(self, name: str, folder: Path, file: str, read: Callable[[bytes], Any]) -> Any:
        """What a button saves, once it is whole."""
        self.browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.click(name)
        path, deadline = folder / file, time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline, f"{file} was not saved"
            time.sleep(0.05)
        return read(path.read_bytes())

    def asked(self) -> list[list[list[str]]]:
        """Texts of all requests so far."""
        return self.do("window.asked")

    def is_inert(self, refused: str = "no status") -> None:
        """Nothing came from elsewhere, all complaints are of what was refused, and no element was made of a text."""
        strange = [one for one in self.browser.requested() if not one.startswith(("data:", "blob:", self.door.address))]
        assert not strange
        assert [one for one in self.browser.complaints() if refused not in one] == []
        assert self.do("document.querySelectorAll('img, script:not([src]), iframe, [onerror], [onload]').length") == 0
        assert self.do("window.hacked === undefined")
