"""Models side by side, by what their cards say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .accuracy import accuracy_of
from .attempts import mean_and_deviation, percent
from .card import own_accuracy, read_card


@dataclass(frozen=True)
class Result:
    """One model; None where its card does not say it.

    Attributes:
        model: its directory's or its card's name.
        kind: `teacher` or the recipe's name.
        teacher, before, accuracy, secure: correct and all, on dev (or on held-out rows, as `data` says): of its
            teacher, of itself before distillation, after it, and through running parties.
        seeds: accuracy of each seed.
        headroom_bits: measured.
        layer_megabytes, layer_messages: of one encoder layer, sent by one party, for `length` word pieces.
        hours, device: of the training of the seed that was kept.
        start: the student that this one's training went on from.
        guide: the classifier whose probabilities it learned in place of the labels, or of its teacher's.
    """

    model: str
    kind: str
    data: str
    accuracy: tuple[int, int]
    teacher: tuple[int, int] | None
    before: tuple[int, int] | None
    secure: tuple[int, int] | None
    seeds: tuple[float, ...]
    headroom_bits: float | None
    layer_megabytes: float | None
    layer_messages: float | None
    length: int | None
    hours: float | None
    device: str | None
    start: str | None = None
    guide: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """One object of `--json`."""
        return asdict(self)


_LEAST_HOURS = 0.1
"""What took less is told in minutes."""

COLUMNS = (
    "model", "conversion", "teacher", "before distillation", "after", "seeds", "secure", "headroom",
    "MB / layer", "messages / layer", "training",
)  # fmt: skip


def read_result(name: str, model: Path) -> Result:
    """A model's result by its card, in its directory or by itself.

    Raises:
        UserError: it has none.
    """
    card = read_card(model)
    data = "dev" if card["accuracy"].get("dev") else "held out"
    measured = card["accuracy"][data]
    own = own_accuracy(card)
    cost, secure = card.get("cost") or {}, card.get("secure")
    seconds = card.get("training_seconds")
    seeds = [one["accuracy"][data] for one in card.get("seeds", []) if data in one.get("accuracy", {})]
    return Result(
        model=name,
        kind=card.get("recipe", "teacher"),
        data=data,
        accuracy=(own.correct, own.count),
        teacher=_counts(measured.get("teacher")),
        before=_counts(measured.get("before distillation")),
        secure=_counts(secure),
        seeds=tuple(one["correct"] / one["count"] for one in seeds),
        headroom_bits=card.get("headroom_bits"),
        layer_megabytes=cost["layer_sent_bytes"] / 1e6 if cost else None,
        layer_messages=cost["layer_messages"] if cost else None,
        length=cost.get("length"),
        hours=None if seconds is None else seconds / 3600,
        device=card.get("device"),
        start=card.get("start"),
        guide=card.get("guide"),
    )


def rows(results: Sequence[Result]) -> list[list[str]]:
    """The table's cells, under `COLUMNS`; accuracies in percent, with right / all."""
    return [_row(result) for result in results]


def _row(r: Result) -> list[str]:
    lengths = "" if r.length is None else f" ({r.length} pieces)"
    return [
        r.model,
        r.kind,
        _share(r.teacher),
        _share(r.before),
        _share(r.accuracy) + ("" if r.data == "dev" else f", {r.data}"),
        _spread(r.seeds),
        _share(r.secure),
        "-" if r.headroom_bits is None else f"{r.headroom_bits:.1f} bits",
        "-" if r.layer_megabytes is None else f"{r.layer_megabytes:.2f}{lengths}",
        "-" if r.layer_messages is None else f"{r.layer_messages:.0f}",
        _training(r),
    ]


def _training(r: Result) -> str:
    if r.hours is None:
        return "-"
    time = f"{r.hours:.2f} h" if r.hours >= _LEAST_HOURS else f"{60 * r.hours:.1f} min"
    device = f" on {r.device}" if r.device else ""
    return time + device + (f", after {r.start}" if r.start else "") + (f", with {r.guide}" if r.guide else "")


def _counts(found: Mapping[str, Any] | None) -> tuple[int, int] | None:
    return None if not found else (int(found["correct"]), int(found["count"]))


def _share(counts: tuple[int, int] | None) -> str:
    return "-" if counts is None else percent(accuracy_of(*counts))


def _spread(accuracies: Sequence[float]) -> str:
    if len(accuracies) < 2:
        return "1"
    mean, deviation = mean_and_deviation(accuracies)
    return f"{len(accuracies)}: {100 * mean:.1f} % ± {100 * deviation:.1f}"
