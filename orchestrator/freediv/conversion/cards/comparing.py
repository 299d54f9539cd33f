"""Models side by side, by what their cards say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter

from ...errors import UserError, one_line
from ..measures.evaluation import ACCURACY, Estimate, accuracy_of, estimate_of
from .attempts import percent, spread_of
from .card import own_accuracy, read_card

Name = Annotated[str, Field(max_length=200), AfterValidator(one_line)]
"""From a card, which may be anybody's, to a terminal."""
Counts = tuple[int, int]
Figure = Counts | float
"""Right and all, of a share; else what its measure gives."""


@dataclass(frozen=True)
class Result:
    """One model; None where its card does not say it.

    Attributes:
        model: its directory's or its card's name.
        kind: `teacher` or the recipe's name.
        measure: in which its answers are measured.
        teacher, before, accuracy, secure: correct and all, or another measure, on dev (or on held-out rows, as `data`
            says): of its teacher, of itself before distillation, after it, and through running parties.
        seeds: the same of each seed.
        headroom_bits: measured.
        layer_megabytes, layer_messages: of one encoder layer, sent by one party, for `length` word pieces.
        hours, device: of the training of the seed that was kept.
        start: the student that this one's training went on from.
        guide: the classifier whose probabilities it learned in place of the labels, or of its teacher's.
    """

    model: str
    kind: Name
    data: str
    measure: Name
    accuracy: Figure
    teacher: Figure | None
    before: Figure | None
    secure: Figure | None
    seeds: tuple[float, ...]
    headroom_bits: float | None
    layer_megabytes: float | None
    layer_messages: float | None
    length: int | None
    hours: float | None
    device: Name | None
    start: Name | None = None
    guide: Name | None = None

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
        UserError: it has none, or one that no command of freediv wrote.
    """
    card = read_card(model)
    try:
        return TypeAdapter(Result).validate_python(_described(name, card))
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise UserError(f"{model}: its card holds what no command of freediv writes; measure the model again") from None


def _described(name: str, card: Mapping[str, Any]) -> dict[str, Any]:
    data = "dev" if card["accuracy"].get("dev") else "held out"
    measured = card["accuracy"][data]
    measure = card.get("measure", ACCURACY)
    cost, secure = card.get("cost") or {}, card.get("secure")
    seconds = card.get("training_seconds")
    seeds = [one["accuracy"][data] for one in card.get("seeds", []) if data in one.get("accuracy", {})]
    return {
        "model": name,
        "kind": card.get("recipe", "teacher"),
        "data": data,
        "measure": measure,
        "accuracy": _figure(own_accuracy(card)),
        "teacher": _figured(measured.get("teacher"), measure),
        "before": _figured(measured.get("before distillation"), measure),
        "secure": _figured(secure, measure),
        "seeds": tuple(estimate_of(one, measure).value for one in seeds),
        "headroom_bits": card.get("headroom_bits"),
        "layer_megabytes": cost["layer_sent_bytes"] / 1e6 if cost else None,
        "layer_messages": cost["layer_messages"] if cost else None,
        "length": cost.get("length"),
        "hours": None if seconds is None else seconds / 3600,
        "device": card.get("device"),
        "start": card.get("start"),
        "guide": card.get("guide"),
    }


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
        _share(r.accuracy)
        + ("" if r.measure == ACCURACY else f" {r.measure}")
        + ("" if r.data == "dev" else f", {r.data}"),
        f"{len(r.seeds)}: {spread_of(r.seeds, share=not isinstance(r.accuracy, float))}" if len(r.seeds) > 1 else "1",
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


def _figured(found: Mapping[str, Any] | None, measure: str) -> Figure | None:
    return _figure(estimate_of(found, measure)) if found else None


def _figure(found: Estimate) -> Figure:
    return found.value if found.correct is None else (found.correct, found.count)


def _share(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:.3f}" if isinstance(figure, float) else percent(accuracy_of(*figure))
