"""How much a training has before it: steps by phase, and the time that they take by those taken so far."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ...progress import duration


class Outlook:
    """The steps of a training's phases, and the time that is left for them.

    Args:
        steps: by phase, in their order; without any, nothing is said.
        trainings: how many are left of so many steps, this one included: those of further seeds.
    """

    def __init__(self, steps: Mapping[str, int], trainings: int = 1) -> None:
        self._steps, self._trainings = dict(steps), trainings
        self._phase, self._first, self._began, self._told = "", 0, 0.0, False

    def begin(self, phase: str, done: int) -> None:
        """A phase's next step is compiled and follows at once; so many were taken before."""
        self._phase, self._first, self._began = phase, done, time.monotonic()

    def first(self, done: int) -> str:
        """A line on all that is planned, when the first steps have been taken; nothing when it was told before."""
        if self._told or not self._steps:
            return ""
        self._told = True
        line, pace = f"{sum(self._steps.values()):,} steps", self._pace(done)
        if len(self._steps) > 1:
            line += f" in {len(self._steps)} stages"
        if self._trainings > 1:
            line += f", {self._trainings} times"
        line += f": {self.left(done) or 'done'}"
        if len(self._steps) > 1:
            each = (f"{name} {count:,} steps in {duration(pace * count)}" for name, count in self._steps.items())
            line += f" ({'; '.join(each)})"
        return line

    def left(self, done: int) -> str:
        """The time that is left in all, at the phase's pace, when so many of its steps have been taken."""
        if not self._steps:
            return ""
        phases = list(self._steps)
        steps = sum(self._steps[name] for name in phases[phases.index(self._phase) :]) - done
        steps += (self._trainings - 1) * sum(self._steps.values())
        return f"about {duration(steps * self._pace(done))} left" if steps else ""

    def _pace(self, done: int) -> float:
        """Seconds of a step."""
        return (time.monotonic() - self._began) / max(1, done - self._first)
