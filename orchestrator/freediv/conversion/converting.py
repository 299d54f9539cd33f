"""`freediv convert`: a teacher in, a student and its card out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..model import Architecture, Given, Model, Reader, as_stored, read_model, read_pretrained, read_reader, write_model
from ..model.reading.texts import TextReader
from ..model.thinness import require_all_rows
from ..progress import say
from .cards.attempts import Attempt
from .cards.card import settings_section
from .making import MIN_HEADROOM_BITS, Made, Making, Measured, Product, digests, make
from .measures.headroom import measure_headroom
from .output import require_new
from .run_directory import RunDirectory
from .student import refitting
from .student.calibration import calibrate
from .student.checks import Sequences, Texts, make_checks
from .student.distillation import distil, with_roots
from .student.recipe import EmbeddingRecipe, Recipe
from .student.replacement import Student, make_student
from .student.row_limits import with_row_limits
from .student.table_cut import measure_table_cut
from .texts.batches import plan_batches
from .texts.examples import Examples, split_off
from .texts.holding_out import whole_rows
from .texts.pairing import as_read
from .training.blocks import trained_alone
from .training.epochs import Mixture, draw_epochs
from .training.guide import Guide, make_guide, make_guide_beside, read_guide, reads_pieces, reads_rows
from .training.steps import Programs

_USUAL_ROWS = 4096
"""Of the training data, for the limits of rows."""
_TOKENS_AT_ONCE = 4096
"""For least squares, which know no steps."""


@dataclass(frozen=True)
class Conversion:
    """How a teacher becomes a student.

    Attributes:
        teacher: its directory.
        recipe: the student's functions, and how it learns.
        published: the model whose word table the student has, and which is public; None: a table of its own, secret.
        start: a student of the same teacher that has this recipe's functions, but maybe roots where this one has none:
            distillation goes on from there, and stage 1 and what comes before it are left out.
        seeds: how many students are trained, from the recipe's seed on.
        allow_overflow: write a student even if its values could wrap around.
    """

    teacher: Path
    recipe: Recipe
    published: Path | None = None
    start: Path | None = None
    seeds: int = 1
    allow_overflow: bool = False


def convert(conversion: Conversion, making: Making) -> Made:
    """Replace, calibrate, distil, measure, and write the student; with a guide, the last stage learns its probabilities
    in place of the teacher's.

    Raises:
        UserError: the recipe does not fit the teacher or the `start`, the output is there already, or the student could
            overflow.
    """
    require_new(making.out)
    teacher = as_read(read_model(conversion.teacher), making.examples.texts, making.examples.source)
    require_all_rows(teacher.architecture)
    if not teacher.architecture.padded:
        _require_no_table(conversion.recipe)
        conversion = replace(conversion, recipe=conversion.recipe.without_pieces())
    _require_fitting(teacher, conversion, making)
    return make(making, conversion.recipe.data.hold_out, partial(_Converting, conversion, making, teacher))


class _Converting:
    """A student on its way: its functions are replaced as this is made, and each seed distils it, calibrated once."""

    command, name, title = "convert", "student", "a student for private inference"

    def __init__(
        self, conversion: Conversion, making: Making, teacher: Model, kept: Examples, held_out: Examples
    ) -> None:
        recipe, started = conversion.recipe, conversion.start is not None
        if recipe.patient() and not len(held_out):
            raise UserError(f"recipe {recipe.name}: patience needs rows to judge by; give data.hold_out more of them")
        if recipe.data.whole_rows:
            kept = whole_rows(kept)
        if recipe.data.rows is not None and recipe.data.rows < len(kept):
            kept, _ = split_off(kept, 1 - recipe.data.rows / len(kept), recipe.seed)
        self.kept, self.seeds = kept, range(recipe.seed, recipe.seed + conversion.seeds)
        self.facts: Mapping[str, object] = {
            "recipe": recipe.name,
            **({"start": conversion.start.name} if conversion.start else {}),
            **({"blocks": list(recipe.blocks)} if recipe.blocks else {}),
        }
        self.settings = settings_section("Recipe", recipe.model_dump(mode="json", exclude_none=True))
        self._conversion, self._teacher, self._recipe = conversion, teacher, recipe
        self._data = {"held out": held_out if len(held_out) else kept.take(np.arange(min(len(kept), 1000)))}
        if making.dev is not None:
            self._data["dev"] = making.dev
        self._reader = read_reader(conversion.teacher)
        full = self._reader.sequences(kept.texts, teacher.architecture)
        table = None
        if conversion.published is not None:
            table = _published_table(conversion.published, teacher, self._reader)
        student = make_student(teacher, self._reader, full, recipe, table)
        self._longest = student.model.architecture.cut_at(recipe.data.longest)
        models = {"teacher": conversion.teacher, "published": conversion.published, "start": conversion.start}
        self._identity = {**digests(**models), "rows": recipe.seed}
        self._distilled = _distilled_by(recipe, self._longest, started=started)
        self._own = student.reader.sequences(kept.texts, student.model.architecture, self._longest)
        judged = held_out.texts if recipe.patient() else ()
        self._judged = student.reader.sequences(judged, student.model.architecture, self._longest)
        cut = str(measure_table_cut(student, teacher, self._own, full))
        say(cut)
        self.about = f"{trained_alone(recipe.blocks)} {cut}".strip()
        self._student, self._calibrated = student, student.model
        self._start = None if conversion.start is None else read_model(conversion.start)
        if self._start is not None:
            _require_like(self._start, student.model)
        pieces = student.kept if recipe.logits.noise else None
        both = [*full, *self._reader.sequences(judged, teacher.architecture)]
        itself = reads_rows(teacher, both) if pieces is None else reads_pieces(teacher, pieces)
        self._guide = _guiding(making.guide, itself, student, self._own, recipe, kept, judged)

    def identity(self, seed: int) -> dict[str, object]:
        recipe = self._distilled.model_dump(mode="json", exclude={"weights", "row_limits"}) | {"seed": seed}
        return {**self._identity, "recipe": recipe}

    def train(self, seed: int, run: RunDirectory, programs: Programs) -> Product:
        recipe = self._distilled.model_copy(update={"seed": seed})
        self._calibrate(run)
        first = self._calibrated if self._start is None else _started(self._calibrated, self._start)
        given = replace(self._student, model=first), self._teacher, self._guide, self._own, recipe, run, programs
        model, phases = distil(*given, self._judged, self.seeds.stop - seed)
        untrained = self._student.model
        if recipe.row_limits and not untrained.architecture.bounded:
            rows = self._own[:_USUAL_ROWS]
            usual = Texts(rows, rows, None).with_long(untrained, untrained, self._longest, self._recipe.seed)
            model = with_row_limits(model, usual.own)
        return model, phases

    def _calibrate(self, run: RunDirectory) -> None:
        """Once for all seeds, and not again where a run goes on: at BERT-base's size it takes minutes."""
        if self._calibrated is not self._student.model:
            return
        known = run.load("calibrated", self._student.model.parameters)
        if known is not None:
            self._calibrated = replace(self._student.model, parameters=known[0])
            return
        self._calibrated = _calibrate(self._student, self._teacher, self._own, self._distilled, run)
        run.save("calibrated", self._calibrated.parameters, {})
        run.remove(refitting.CHECKPOINT)

    def measure(self, products: Mapping[int, Product]) -> Measured:
        seed, weights = self._recipe.seed, self._recipe.weights
        checks = make_checks(self._teacher, self._reader, self._student, self._data, self._longest, seed)
        attempts = []
        calibrated = as_stored(self._calibrated, weights)
        beside = {"teacher": checks.teachers, "before distillation": checks.evaluate(calibrated)}
        agreement = checks.agreement(calibrated)
        for seed, (model, phases) in products.items():
            stored = as_stored(model, weights)  # what is measured is what is shipped
            headroom = measure_headroom(stored, checks.stress)
            attempts.append(Attempt(seed, stored, phases, checks.evaluate(stored), headroom, checks.agreement(stored)))
        return Measured(attempts, beside, agreement)

    def write(self, chosen: Attempt, model: Model, directory: Path) -> None:
        headroom = chosen.headroom
        assert headroom is not None
        if headroom.bits < MIN_HEADROOM_BITS and not self._conversion.allow_overflow:
            raise UserError(
                f"the student has {headroom.bits:.1f} bits of headroom and could overflow unseen; it was not written. "
                "Change the recipe, or write it all the same with --allow-overflow"
            )
        # Rounded once: rows that are rounded already have other scales.
        whole = replace(model, certificate=headroom.certificate, directory=None)
        write_model(whole, directory, weights=self._recipe.weights)
        self._student.reader.write(directory, self._conversion.teacher)


def _require_fitting(teacher: Model, conversion: Conversion, making: Making) -> None:
    """Refuse data of other labels than the teacher's, and a recipe whose student nothing bounds."""
    for data in (making.examples, making.dev):
        if data is not None and data.labels is not None and len(data.label_names) != teacher.architecture.labels:
            count = len(data.label_names)
            raise UserError(f"{data.source}: {count} labels, the teacher knows {teacher.architecture.labels}")
    if making.dev is not None:
        as_read(replace(teacher, plain=False), making.dev.texts, making.dev.source)
    if not conversion.allow_overflow and not conversion.recipe.bounded(teacher.architecture):
        raise UserError(
            f"recipe {conversion.recipe.name}: a norm without a root bounds nothing, and its student could overflow "
            "unseen; convert it all the same with --allow-overflow"
        )


def _require_no_table(recipe: Recipe) -> None:
    """Refuse a recipe that cuts or factorises a word table, where a teacher reads images."""
    if recipe.embedding != EmbeddingRecipe():
        raise UserError(
            f"recipe {recipe.name}, embedding: the teacher reads images, which have no word table; leave it out"
        )


def _published_table(published: Path, teacher: Model, reader: Reader) -> np.ndarray:
    """The word table [vocabulary, width] of a published model, which must have the teacher's word pieces.

    Raises:
        UserError: the model cannot be read, or its word pieces are others.
    """
    model, own = read_pretrained(published, teacher.architecture.label_names), read_reader(published)
    if not isinstance(reader, TextReader) or not isinstance(own, TextReader):
        raise UserError(f"--published {published}: images have no word table; leave it out")
    table = model.parameters["embedding"]["word"]
    same_pieces = own.tokenizer.get_vocab() == reader.tokenizer.get_vocab()
    if not same_pieces or table.shape != teacher.parameters["embedding"]["word"].shape:
        raise UserError(
            f"--published {published}: its word pieces or their width are not the teacher's; "
            "name the model that the teacher was made from"
        )
    return table


def _distilled_by(recipe: Recipe, longest: int, *, started: bool) -> Recipe:
    """The recipe for texts up to the `longest`; without stage 1 and what comes before it where that was done."""
    changes: dict[str, object] = {"data": recipe.data.model_copy(update={"longest": longest})}
    if started:
        changes |= {"refit": None, "progressive": None, "hidden": recipe.hidden.model_copy(update={"epochs": 0})}
    return recipe.model_copy(update=changes)


def _require_like(start: Model, student: Model) -> None:
    """Refuse to start from a student that differs from the recipe's in more than the roots of its norms."""
    if _but_for_roots(start.architecture) != _but_for_roots(student.architecture):
        raise UserError(
            f"--start {start.directory}: differs from this recipe's student in more than its norms' roots; "
            "give one of the same teacher, functions, word pieces and labels"
        )


def _started(calibrated: Model, start: Model) -> Model:
    """The calibrated student with what a trained one has of its parameters."""
    parameters = {stage: own | start.parameters[stage] for stage, own in calibrated.parameters.items()}
    parameters["classifier"].pop("limits", None)  # rows get their own after training
    if calibrated.architecture.embedding == "public":  # as it was published, whatever a file has rounded
        parameters["embedding"]["word"] = calibrated.parameters["embedding"]["word"]
    return replace(calibrated, parameters=parameters)


def _but_for_roots(architecture: Architecture) -> Architecture:
    return with_roots(architecture).model_copy(update={"row_limits": False})


def _guiding(
    guide: Path | None,
    teacher: Guide,
    student: Student,
    own: Sequences,
    recipe: Recipe,
    kept: Examples,
    judged: Sequence[Given],
) -> Guide:
    """Whose probabilities the last stage learns; `own` are the student's texts, `judged` those that are held out.

    Raises:
        UserError: there is no such stage, or the guide cannot read what the student reads.
    """
    if guide is None:
        return teacher
    if not recipe.logits.epochs:
        raise UserError(f"--guide: recipe {recipe.name} leaves out the last stage, which a guide is for")
    model = read_guide(guide, kept, teacher.model)
    if recipe.logits.noise and isinstance(student.reader, TextReader):
        return make_guide_beside(model, student.reader.tokenizer, own)
    return make_guide(model, [*kept.texts, *judged])


def _calibrate(
    student: Student, teacher: Model, sequences: Sequences, recipe: Recipe, run: RunDirectory | None = None
) -> Model:
    rows = np.random.default_rng(recipe.seed).permutation(len(sequences))[: recipe.calibration_rows]
    chosen = [sequences[row] for row in rows]
    plan = plan_batches([len(sequence) for sequence in chosen], tokens_per_batch=recipe.data.tokens_per_batch)
    model = calibrate(student, teacher, chosen, plan, recipe.fit_activation)
    if recipe.refit is None:
        return model
    data, separator = recipe.data, model.architecture.separator_token
    pieces = max(recipe.refit.pieces, recipe.refit.trained)
    size = data.tokens_per_batch if recipe.refit.trained else _TOKENS_AT_ONCE
    mixture = Mixture(pieces, data.long_share, data.longest, size, data.shapes)
    (texts,) = draw_epochs(sequences, separator, 1, mixture, (recipe.seed, 0))
    return refitting.refit(replace(student, model=model), teacher, texts.epoch, recipe, run)
