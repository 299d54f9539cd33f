"""Several runs that differ in their seed alone: which of them is kept, and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...model import Model
from ..measures.evaluation import Estimate, Evaluation
from ..measures.headroom import Headroom
from ..training.phase import Trained
from .card import Section, table


@dataclass(frozen=True)
class Attempt:
    """One run: the model, what its phases took, and what was measured of it, by data set (None: no labels there).

    `agreement` is how alike its answers and its teacher's are, by length.
    """

    seed: int
    model: Model
    phases: Mapping[str, Trained]
    evaluations: Mapping[str, Evaluation | None]
    headroom: Headroom | None = None
    agreement: dict[int, Estimate] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of training."""
        return sum(trained.seconds for trained in self.phases.values())

    @property
    def merit(self) -> float:
        """What attempts are chosen by: how good they are on held-out rows, or agreement with the teacher where none is
        labelled.

        Never accuracy on dev.
        """
        held_out = self.evaluations.get("held out")
        if held_out is not None:
            return held_out.overall.value
        count = sum(one.count for one in self.agreement.values())
        return sum(one.value * one.count for one in self.agreement.values()) / count if count else 0.0

    def summary(self) -> dict[str, object]:
        """For what programs read of a card."""
        found: dict[str, object] = {"seed": self.seed, "training_seconds": round(self.seconds)}
        if self.headroom is not None:
            found["headroom_bits"] = round(self.headroom.bits, 2)
        known = {name: one.overall for name, one in self.evaluations.items() if one is not None}
        return found | {"accuracy": {name: one.of_all() for name, one in known.items()}}


def best(attempts: Sequence[Attempt], least_headroom: float) -> Attempt:
    """The attempt of most merit among those with so many bits of headroom, or among all where none has them."""
    safe = [a for a in attempts if a.headroom is None or a.headroom.bits >= least_headroom]
    return max(safe or attempts, key=lambda attempt: attempt.merit)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample; 0 for a single value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def attempts_section(attempts: Sequence[Attempt], chosen: Attempt) -> Section:
    """Every seed, where there are several, with mean and standard deviation."""
    if len(attempts) < 2:
        return "Seeds", ""
    names = [name for name, one in chosen.evaluations.items() if one is not None]
    rows = []
    for attempt in attempts:
        measured = [one.overall for name in names if (one := attempt.evaluations[name]) is not None]
        headroom = [] if attempt.headroom is None else [f"{attempt.headroom.bits:.1f} bits"]
        rows.append([f"{attempt.seed}{' (kept)' if attempt is chosen else ''}", *map(percent, measured), *headroom])
    spread = []
    for name in names:
        measured = [one.overall for a in attempts if (one := a.evaluations[name]) is not None]
        spread.append(spread_of([one.value for one in measured], share=measured[0].correct is not None))
    blank = [] if chosen.headroom is None else ["-"]
    rows.append(["mean ± standard deviation", *spread, *blank])
    measures = [f"{one.overall.measure}, {name}" for name in names if (one := chosen.evaluations[name]) is not None]
    header = ["seed", *measures, *(["headroom"] if blank else [])]
    kept = "held-out rows" if chosen.evaluations.get("held out") is not None else "agreement with the teacher"
    return "Seeds", f"The same training with other seeds; the one kept is the best by {kept}, not by dev.\n\n" + table(
        header, rows
    )


def spread_of(values: Sequence[float], *, share: bool) -> str:
    """Mean and standard deviation, of shares in percent."""
    mean, deviation = mean_and_deviation(values)
    return f"{100 * mean:.1f} % ± {100 * deviation:.1f}" if share else f"{mean:.3f} ± {deviation:.3f}"


def percent(found: Estimate) -> str:
    """Without an interval, for tables that have one elsewhere."""
    if found.correct is None:
        return f"{found.value:.3f} ({found.count})"
    return f"{100 * found.value:.1f} % ({found.correct} / {found.count})"
