"""Model cards: what a model is, how it was made and what was measured, written by the command that made it.

A card is two files: README.md, a page for people whose front matter a hub reads, and `measurements.json`, for programs.
Of a card that was put aside as NAME.md it is NAME.json.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import yaml

from ...errors import UserError
from ...files import opened_output, replace_file
from ...model import Architecture
from ...model.answers import answer_of
from ...model.checkpoints.certificate import FRACTION_BITS, RING_BITS
from ...model.thinness import thinness
from ..measures.bounds import within_the_ring
from ..measures.evaluation import ACCURACY, Estimate, Evaluation, estimate_of
from ..measures.headroom import CAPACITY_BITS, Headroom
from ..training.phase import Trained
from .hub import front_matter

_MOST_BYTES = 1 << 20  # of a card that is read
_PAGE, _MEASUREMENTS = "README.md", "measurements.json"
Section = tuple[str, str]
"""A heading and the Markdown below it."""


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from: the command, the data's file name, digest and rows, and what its owner adds."""

    command: str
    data_name: str
    data_digest: str
    rows: int
    note: str = ""


def write_card(
    directory: Path, name: str, title: str, task: str, card: Mapping[str, Any], sections: Iterable[Section],
    base: str | None = None,
) -> None:  # fmt: skip
    """Write a model's card.

    Args:
        directory: the model's, which is being written.
        name: of the model.
        title: what it is, in a few words.
        task: what it does, as a hub calls that.
        card: what programs read.
        sections: the page for people.
        base: the model on a hub that it was made from.

    Raises:
        WriteError: it cannot be written.
    """
    front = _dumped(front_matter(name, task, card, base))
    about = f"What programs read of this page is in `{_MEASUREMENTS}` beside it."
    body = "".join(f"\n## {heading}\n\n{text.strip()}\n" for heading, text in sections if text.strip())
    replace_file(directory / _PAGE, f"---\n{front}---\n\n# {name}: {title}\n\n{about}\n{body}")
    _write_measurements(directory / _MEASUREMENTS, card)


def read_card(model: Path) -> dict[str, Any]:
    """What a model's card says to programs, with an accuracy at least.

    `model` is a directory, or a page that was put aside with its measurements.

    Raises:
        UserError: there is no such card.
    """
    page, measurements = _files(model)
    path = measurements if measurements.exists() else page
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path == measurements else _of_old_form(text)
        own_accuracy(found)
        return dict(found)
    except (
        OSError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RecursionError,
        yaml.YAMLError,
    ):
        beside = "" if page.name == _PAGE else f"; of one put aside, {measurements.name} is the model's {_MEASUREMENTS}"
        raise UserError(
            f"{path}: no card with an accuracy; `freediv convert` and `freediv finetune` write one{beside}"
        ) from None


def _files(model: Path) -> tuple[Path, Path]:
    """A card's page, and what programs read."""
    page = model if model.is_file() else model / _PAGE
    return page, page.with_name(_MEASUREMENTS) if page.name == _PAGE else page.with_suffix(".json")


def _of_old_form(page: str) -> Any:
    """Cards were one file once, and what programs read was part of the front matter: models that people have, have it
    there.
    """
    return yaml.safe_load(page.split("---\n")[1])["freediv"]


def own_accuracy(card: Mapping[str, Any]) -> Estimate:
    """How good a model is by its card, in its own measure: on dev, or on the rows kept out of its training."""
    measured = card["accuracy"]
    found = measured.get("dev") or measured["held out"]
    return estimate_of(found.get("student", found), card.get("measure", ACCURACY))


def require_card(directory: Path) -> None:
    """Find out before any work is done that a model has no card to extend.

    Raises:
        UserError: as `extend_card`.
    """
    read_card(directory)
    page, measurements = _files(directory)
    _read_page(page)
    with opened_output(page), opened_output(measurements):
        pass


def extend_card(directory: Path, key: str, value: Mapping[str, Any], section: Section) -> None:
    """Add to a model's card what was measured later: `value` under `key` for programs, a section for people.

    What was there of the same key and heading is replaced; the front matter stays as it is.

    Raises:
        UserError: there is no card, or it cannot be written.
    """
    card = read_card(directory) | {key: dict(value)}
    page, measurements = _files(directory)
    front, body = _read_page(page)
    heading = f"\n## {section[0]}\n"
    before, _, after = body.partition(heading)
    rest = after.find("\n## ")
    body = before.rstrip("\n") + "\n" + (after[rest:] if rest >= 0 else "")
    _write_measurements(measurements, card)
    replace_file(page, f"{front}{body.rstrip()}\n{heading}\n{section[1].strip()}\n")


def _read_page(page: Path) -> tuple[str, str]:
    """Its front matter as it stands, without what programs read in the old form, and what follows."""
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{page}: no page to add to ({error}); `freediv convert` writes one") from None
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0]:
        return "", text
    try:
        known = yaml.safe_load(parts[1])
        if "freediv" in known:
            card = known.pop("freediv")
            own = front_matter(page.parent.resolve().name, known.get("pipeline_tag", "text-classification"), card)
            parts[1] = _dumped(known | own)
    except (TypeError, ValueError, AttributeError, yaml.YAMLError):
        raise UserError(f"{page}: its front matter is none that freediv wrote; mend it") from None
    return f"---\n{parts[1]}---\n", parts[2]


def _dumped(front: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)


def _write_measurements(path: Path, card: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def model_of(architecture: Architecture) -> dict[str, Any]:
    """What the model is, for programs: its size, and the functions that layers of it have."""
    functions = dict.fromkeys(tuple(own.model_dump().items()) for own in architecture.functions)
    return {
        "family": architecture.family,
        "layers": architecture.layers,
        "hidden": architecture.hidden,
        "functions": [dict(own) for own in functions],
        "thinner": thinness(architecture),
    }


def model_section(architecture: Architecture, more: str = "") -> Section:
    """What the model is, in a few lines, and what else is to be said of it."""
    a = architecture
    functions = sorted({f"{f.attention}, {f.activation}, {f.attention_norm}" for f in a.functions})
    reads, answer = "pairs of texts" if a.pairs else "single texts", answer_of(a)
    size = f"{a.vocabulary:,} word pieces of {a.embedding_size} numbers ({a.embedding} embedding); texts of up to "
    size += f"{a.positions} pieces"
    if a.patches is not None:
        reads = f"images of {a.patches.height} x {a.patches.width} pixels"
        size = f"{a.positions} rows, patches of {a.patches.patch_height} x {a.patches.patch_width} pixels among them"
    labels = f" Labels: {', '.join(a.label_names)}." if a.labels > 1 else ""
    thinner = f" Thinner: {thinner}." if (thinner := thinness(a)) else ""
    text = (
        f"It reads {reads} and answers {answer.words.kind}. Of the family {a.family}: {a.layers} layers, {a.hidden} "
        f"wide, {a.heads} heads, {a.intermediate} in the feed-forward block; {size}. "
        f"Attention, activation and norms: {'; '.join(functions)}.{thinner}{labels}"
    )
    return "Model", f"{text} {more}"


def accuracy_section(columns: Mapping[str, Evaluation | None], what: str) -> Section:
    """How good several models are on one data set, overall and by length bucket."""
    known = {name: evaluation for name, evaluation in columns.items() if evaluation is not None}
    if not known:
        return what, ""
    lengths = sorted({length for evaluation in known.values() for length in evaluation.by_length})
    first = next(iter(known.values())).overall
    rows = [["all", *(_count(evaluation.overall) for evaluation in known.values())]]
    for length in lengths:
        found = [evaluation.by_length.get(length) for evaluation in known.values()]
        rows.append([f"up to {length}", *("-" if accuracy is None else _count(accuracy) for accuracy in found)])
    explained = "Accuracy in percent with its 95 % interval (Wilson score), and right / all; by word pieces.\n\n"
    if first.correct is None:
        explained = (
            f"{_capital(first.measure)} with its 95 % interval (texts drawn anew), and texts; by word pieces.\n\n"
        )
    more = [
        [one.measure, *(_count(evaluation.others[number]) for evaluation in known.values())]
        for number, one in enumerate(next(iter(known.values())).others)
    ]
    return what, explained + table(["length", *known], [*rows, *more])


def agreement_section(agreement: Mapping[int, Estimate], before: Mapping[int, Estimate]) -> Section:
    """How alike the student's answers and the teacher's are, by length."""
    rows = [[f"up to {length}", _count(before[length]), _count(found)] for length, found in agreement.items()]
    one = next(iter(agreement.values()))
    told = "How often the student gives the teacher's label" if one.correct is not None else _capital(one.measure)
    explained = f"{told}, on rows kept out of the training, single and strung together up to the longest length.\n\n"
    return "Agreement with the teacher", explained + table(["length", "before distillation", "after"], rows)


def headroom_section(headroom: Headroom, bounds: Mapping[str, float], architecture: Architecture) -> Section:
    """Largest magnitudes by stage, what no text can exceed, and whether norms have their roots or rows their limits."""
    warning = ""
    if not architecture.bounded:
        warning = " **A norm has no root: nothing bounds them, and on other texts values may leave the ring unseen.**"
    elif architecture.row_limits:
        warning = (
            f" Norms have constants for roots, and rows limits: {headroom.without_answer} of these {headroom.count:,} "
            "sequences have a row beyond its own, get no answer, and are not counted here."
        )
    noun, beside = "text", ", on the same strung together up to the longest length, and on random word pieces"
    if not architecture.padded:
        noun, beside = "image", ", and on random pixels"
    text = (
        f"{headroom.bits:.1f} bits between the largest value seen and the edge of the ring: {RING_BITS} bits, "
        f"{FRACTION_BITS} of them fraction bits, twice that in a product, so that products must stay below "
        f"2^{CAPACITY_BITS}; each fraction bit more takes two. Seen, up to a length of {headroom.length}: on rows kept "
        f"out of the training{beside}. Beside it what no {noun} can exceed, hostile ones included, "
        "as the weights prove while the stages before stay in range; a dash where that lies beyond the ring, "
        f"and what was seen is all there is.{warning}\n\n"
    )
    rows = [
        [f"`{name}`", f"{value:,.1f}", f"{bounds[name]:,.0f}" if within_the_ring(bounds[name]) else "-"]
        for name, value in headroom.largest.items()
    ]
    return "Headroom", text + table(["stage", "largest magnitude", f"no {noun} exceeds"], rows)


def training_section(phases: Mapping[str, Trained]) -> Section:
    """Losses and time, and the losses of rows held out after each epoch, where these could end a phase."""
    judged = any(trained.held_out for trained in phases.values())
    header = [
        "phase",
        "epochs",
        "mean loss of each epoch",
        "minutes",
        *(["of rows held out, after it"] if judged else []),
    ]
    rows = []
    for name, trained in phases.items():
        losses, held_out = (", ".join(f"{value:.4f}" for value in own) for own in (trained.losses, trained.held_out))
        row = [name, f"{len(trained.losses)} of {trained.planned}", losses, f"{trained.seconds / 60:.1f}"]
        rows.append([*row, *([held_out] if judged else [])])
    return "Training", table(header, rows)


def provenance_section(provenance: Provenance) -> Section:
    """The data and the command."""
    text = (
        f"Data: `{provenance.data_name}`, SHA-256 `{provenance.data_digest}`, {provenance.rows:,} rows to train on, "
        "of which each epoch sees as many as its settings say.\n\n"
        f"```\n{provenance.command}\n```\n"
    )
    return "Made by", (f"{provenance.note}\n\n" if provenance.note else "") + text


def training_device() -> str:
    """What this process trains on, in words."""
    first, *others = jax.devices()
    cores, count = len(os.sched_getaffinity(0)), 1 + len(others)
    name = f"{cores} CPU core{'s' * (cores != 1)}" if first.platform == "cpu" else str(first.device_kind)
    return f"{count} devices: {name}" if others else name


def versions_section() -> Section:
    """What it ran on."""
    packages = ("freediv", "jax", "optax", "numpy", "tokenizers", "pillow")
    rows = [[name, version(name)] for name in packages]
    return "Versions", table(["package", "version"], [["Python", platform.python_version()], *rows])


def settings_section(heading: str, settings: Mapping[str, Any]) -> Section:
    """A recipe or settings, as YAML."""
    return heading, f"```yaml\n{yaml.safe_dump(dict(settings), sort_keys=False)}```"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _count(found: Estimate) -> str:
    return f"{found} ({found.count if found.correct is None else f'{found.correct} / {found.count}'})"


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
