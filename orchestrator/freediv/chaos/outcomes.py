"""What became of requests while something was broken."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["right", "refused", "wrong", "lost"]
"""`refused`: in one line that says why. `lost`: no answer in time, or an error that nobody meant for a client."""


@dataclass
class Attempt:
    """One request of one client; `began` and `ended` on the monotonic clock, `told` why it was not answered."""

    began: float
    ended: float = 0.0
    outcome: Outcome = "lost"
    told: str = ""
    over: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def seconds(self) -> float:
        """From its first byte to its answer or refusal."""
        return self.ended - self.began


@dataclass(frozen=True)
class Injection:
    """One fault, injected once.

    Attributes:
        attempts: all requests from before the fault until after the recovery.
        recovery_s: seconds from the repair (where none is needed, from the fault) to the next right answer; None: there
            was none.
        told: what whoever was hit by the fault was told, and after how many seconds; empty: nobody noticed.
        told_s: see `told`.
        left: what was left behind: processes, temporary files, half-written shares, requests that are held.
    """

    attempts: tuple[Attempt, ...]
    recovery_s: float | None
    told: str
    told_s: float
    left: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One fault, injected several times; or why it could not be. One that `falsifies` makes answers wrong by intent."""

    name: str
    what: str
    injections: tuple[Injection, ...] = ()
    skipped: str = ""
    falsifies: bool = False

    @property
    def requests(self) -> int:
        """How many were sent."""
        return sum(len(one.attempts) for one in self.injections)

    def count(self, outcome: Outcome) -> int:
        """How many requests ended so."""
        return Counter(attempt.outcome for attempt in self._attempts())[outcome]

    @property
    def recovery_s(self) -> float | None:
        """The longest recovery; None where one did not come about."""
        times = [one.recovery_s for one in self.injections]
        return None if not times or None in times else max(time for time in times if time is not None)

    @property
    def told(self) -> str:
        """What those hit by the fault were told."""
        return next((one.told for one in self.injections if one.told), "")

    @property
    def told_s(self) -> float:
        """After how long, at most, anybody was told why there is no answer."""
        refused = (attempt.seconds for attempt in self._attempts() if attempt.outcome == "refused")
        return max([*refused, *(one.told_s for one in self.injections if one.told)], default=0.0)

    @property
    def left(self) -> tuple[str, ...]:
        """All that was left behind."""
        return tuple(left for one in self.injections for left in one.left)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong (but by intent), lost or left behind, and the service always came back."""
        bad = self.count("lost") + len(self.left) + (0 if self.falsifies else self.count("wrong"))
        return bool(self.skipped) or (bad == 0 and self.recovery_s is not None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: counts, seconds, and every distinct line that a client was told with how often it was."""
        lines = Counter(attempt.told for attempt in self._attempts() if attempt.told)
        return {
            "fault": self.name,
            "what": self.what,
            "skipped": self.skipped or None,
            "injected": len(self.injections),
            "requests": self.requests,
            **{outcome: self.count(outcome) for outcome in _OUTCOMES},
            "recovery_s": [one.recovery_s for one in self.injections],
            "told": self.told,
            "told_s": self.told_s,
            "all_told": dict(lines.most_common()),
            "left": list(self.left),
            "passed": self.passed,
        }

    def _attempts(self) -> Iterable[Attempt]:
        return (attempt for one in self.injections for attempt in one.attempts)


_OUTCOMES: tuple[Outcome, ...] = ("right", "refused", "wrong", "lost")
