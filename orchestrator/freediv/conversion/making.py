"""Making a model, by fine-tuning as by conversion: rows held out, seeds trained, the best written with its card."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from ..model import Model
from ..model.answers import answer_of
from ..model.checkpoints.weights_files import weights_files
from .cards.attempts import Attempt, attempts_section, best
from .cards.card import (
    Provenance,
    Section,
    accuracy_section,
    agreement_section,
    headroom_section,
    model_of,
    model_section,
    provenance_section,
    training_device,
    training_section,
    versions_section,
    write_card,
)
from .measures.bounds import stage_bounds
from .measures.evaluation import ACCURACY, Estimate, Evaluation
from .output import new_directory
from .run_directory import RunDirectory, file_digest
from .texts.examples import Examples
from .texts.holding_out import hold_out
from .training.phase import Trained
from .training.steps import Programs

MIN_HEADROOM_BITS = 1.0
_TITLES = {"dev": "Accuracy on dev", "held out": "Accuracy on rows kept out of the training"}

Product: TypeAlias = tuple[Model, dict[str, Trained]]
"""A model after its training, and what each phase of that took."""


@dataclass(frozen=True)
class Making:
    """What a model is made of, and where it goes.

    Attributes:
        examples: to train on; some of them are held out, to choose between seeds by.
        dev: labelled, to measure on; looked at once, when nothing is left to choose.
        out: the directory to write, which must not be there yet.
        command, note: for the card.
        run: directory of checkpoints; what it holds is gone on from. None: beside `out`, and removed when done.
        guide: a larger classifier of the same labels, whose probabilities are learned.
        base: the name on a hub of the model that it is made from, where it has one.
    """

    examples: Examples
    dev: Examples | None
    out: Path
    command: str
    note: str = ""
    run: Path | None = None
    guide: Path | None = None
    base: str | None = None


@dataclass(frozen=True)
class Measured:
    """Attempts, and by name what else was measured beside them, by data set; `agreement` is that before training."""

    attempts: list[Attempt]
    beside: Mapping[str, Mapping[str, Evaluation | None]] = field(default_factory=dict)
    agreement: Mapping[int, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What was written, and its accuracy beside that of others, by data set and name (None: no labels there)."""

    attempt: Attempt
    accuracy: Mapping[str, Mapping[str, Evaluation | None]]


class Way(Protocol):
    """One way of making a model: by its name on the command line, what the model is called in tables and in titles,
    which seeds it trains, on which rows, and what its card says of the settings, first to programs, and of the model.
    """

    command: str
    name: str
    title: str
    seeds: range
    kept: Examples
    settings: Section
    facts: Mapping[str, object]
    about: str

    def identity(self, seed: int) -> Mapping[str, object]:
        """What a training's result depends on beside its texts and guide."""

    def train(self, seed: int, run: RunDirectory, programs: Programs) -> Product:
        """One training."""

    def measure(self, products: Mapping[int, Product]) -> Measured:
        """All of them, by seed, when none is left to train."""

    def write(self, chosen: Attempt, model: Model, directory: Path) -> None:
        """The model of the attempt that was chosen, with its tokenizer; raises UserError where it should not be."""


def digests(**models: Path | None) -> dict[str, str]:
    """Of the weights of those models that there are."""
    return {what: _digest(weights_files(one)) for what, one in models.items() if one is not None}


def _digest(paths: Sequence[Path]) -> str:
    first, *others = (file_digest(path) for path in paths)
    return hashlib.sha256("".join((first, *others)).encode()).hexdigest() if others else first


def make(making: Making, share: float, begin: Callable[[Examples, Examples], Way]) -> Made:
    """Hold out a share of the rows, train once a seed, keep the best by these rows, and write it with its card.

    Args:
        making: texts and places.
        share: of the rows, to hold out.
        begin: the way, given the rows to train on and those held out.

    Raises:
        UserError: the run directory holds another run, or as `begin` and `Way.write`.
    """
    way = begin(*hold_out(making.examples, share))
    products, programs = {}, Programs()
    known = {
        "command": way.command,
        "data": making.examples.digest,
        "texts and labels": making.examples.content,
        **digests(guide=making.guide),
    }
    run_path = making.run or making.out.with_name(f"{making.out.name}.run")
    for seed in way.seeds:
        with RunDirectory(run_path / f"seed-{seed}", {**known, **way.identity(seed)}) as run:
            products[seed] = way.train(seed, run, programs)
    measured = way.measure(products)
    chosen = best(measured.attempts, MIN_HEADROOM_BITS)
    accuracy = {
        data: {**{who: own[data] for who, own in measured.beside.items()}, way.name: evaluation}
        for data, evaluation in chosen.evaluations.items()
    }
    with new_directory(making.out) as directory:
        way.write(chosen, products[chosen.seed][0], directory)
        _write_card(directory, making, way, measured, chosen, accuracy)
    if making.run is None:
        shutil.rmtree(run_path, ignore_errors=True)
    return Made(chosen, accuracy)


def _write_card(
    directory: Path,
    making: Making,
    way: Way,
    measured: Measured,
    chosen: Attempt,
    accuracy: Mapping[str, Mapping[str, Evaluation | None]],
) -> None:
    known: dict[str, dict[str, object]] = {
        data: {who: one.to_dict() for who, one in own.items() if one is not None} for data, own in accuracy.items()
    }
    if not measured.beside:  # one model alone needs no name
        known = {data: one.to_dict() for data, one in chosen.evaluations.items() if one is not None}
    headroom, examples = chosen.headroom, making.examples
    answer = answer_of(chosen.model.architecture)
    measure = answer.measures(chosen.model.architecture)[0].name
    sources = {"held out": examples, "dev": making.dev}
    card = {
        **way.facts,
        "model": model_of(chosen.model.architecture),
        **({} if making.guide is None else {"guide": making.guide.name}),
        "seed": chosen.seed,
        **({} if headroom is None else {"headroom_bits": round(headroom.bits, 2)}),
        "training_seconds": round(chosen.seconds),
        "device": training_device(),
        **({} if measure == ACCURACY else {"measure": measure}),
        "data": {data: one.source.name for data, one in sources.items() if one is not None and data in known},
        "accuracy": known,
        "seeds": [attempt.summary() for attempt in measured.attempts],
    }
    provenance = Provenance(making.command, examples.source.name, examples.digest, len(way.kept), making.note)
    model = chosen.model
    sections = [
        model_section(model.architecture, way.about),
        *(accuracy_section(accuracy[data], title) for data, title in _TITLES.items() if data in accuracy),
        attempts_section(measured.attempts, chosen),
        *([agreement_section(chosen.agreement, measured.agreement)] if chosen.agreement else []),
        *([headroom_section(headroom, stage_bounds(model), model.architecture)] if headroom is not None else []),
        provenance_section(provenance),
        way.settings,
        training_section(chosen.phases),
        versions_section(),
    ]
    task = answer.pipeline if chosen.model.architecture.padded else answer.image_pipeline
    write_card(directory, making.out.name, way.title, task, card, sections, making.base)
