"""Progress of something long: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .terminal import console

SECONDS_BETWEEN_LINES = 30.0


class Meter:
    """Counts steps of one task, on standard error; `total` steps, of which `start` were done before."""

    def __init__(self, task: str, total: int, start: int = 0) -> None:
        self._task, self._total, self._start, self._done = task, total, start, start
        self._console = console(stderr=True)
        self._began = self._last_line = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Meter:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False), console=self._console,
            )  # fmt: skip
            self._bar.start()
            self._id = self._bar.add_task(self._task, total=self._total, completed=self._start, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """`done` steps in all have been taken; `note` is shown beside them."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._id, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            left = (now - self._began) / max(1, done - self._start) * (self._total - done)
            minutes, seconds = divmod(round(left), 60)
            self.line(f"{self._task}: {done}/{self._total}  {note}  {minutes}:{seconds:02} left")

    def line(self, text: str) -> None:
        """Print a line that stays; nothing where there is no text."""
        if text:
            self._console.print(text, soft_wrap=True)


def duration(seconds: float) -> str:
    """How long something takes, about: `40 s`, `12 min`, `1 h 10 min`."""
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0))


def say(text: str) -> None:
    """A line on standard error; nothing where there is no text."""
    if text:
        console(stderr=True).print(text, soft_wrap=True)
