"""`freediv convert`: a teacher in, a student and its card out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ..errors import UserError
from ..transformer import Certificate, Model, as_stored, read_model, read_pretrained, write_model
from .accuracy import Accuracy, Evaluation
from .attempts import Attempt, attempts_section, best
from .batches import plan_batches
from .bounds import stage_bounds
from .calibration import calibrate
from .card import (
    Provenance,
    accuracy_section,
    agreement_section,
    headroom_section,
    model_section,
    provenance_section,
    render_card,
    settings_section,
    training_device,
    training_section,
    versions_section,
)  # fmt: skip
from .checks import Checks, Sequences, Texts, make_checks
from .data import Examples, split_off
from .distillation import distil, with_roots
from .guide import Guide, make_guide, make_guide_beside, read_guide, reads_pieces, reads_rows
from .headroom import Headroom, measure_headroom
from .holding_out import hold_out
from .output import new_directory, require_new
from .pairs import as_read
from .programs import Programs
from .progress import say
from .recipe import Recipe
from .replacement import Student, make_student
from .row_limits import with_row_limits
from .run import RunDirectory, file_digest
from .table_cut import TableCut, measure_table_cut
from .training import Trained
from .vocabulary import encode, read_tokenizer

MIN_HEADROOM_BITS = 1.0
_USUAL_ROWS = 4096
"""Of the training data, for the limits of rows."""


@dataclass(frozen=True)
class Converted:
    """A student on disk, and what was measured of it; evaluations are None where there were no labels for them."""

    model: Model
    teacher_dev: Evaluation | None
    student_dev: Evaluation | None
    student_dev_before: Evaluation | None
    headroom: Headroom
    agreement: dict[int, Accuracy]


@dataclass(frozen=True)
class _Before:
    """What there is beside the attempts: the teacher, and the student before distillation, by data set; and what its
    word table has lost.
    """

    teacher: Mapping[str, Evaluation | None]
    calibrated: dict[str, Evaluation | None]
    agreement: dict[int, Accuracy]
    table_cut: TableCut


def convert(
    teacher_directory: Path,
    recipe: Recipe,
    examples: Examples,
    dev: Examples | None,
    out: Path,
    run_path: Path,
    *,
    command: str,
    note: str = "",
    seeds: int = 1,
    allow_overflow: bool = False,
    published: Path | None = None,
    start: Path | None = None,
    guide: Path | None = None,
) -> Converted:
    """Replace, calibrate, distil, measure, and write the student to `out` with its card; resumes what `run_path` holds.

    The student's word table is that of the model `published`, and public; without one it is secret. With `start`, a
    student of the same teacher that has this recipe's functions, but maybe roots where this one has none, distillation
    goes on from there: stage 1 and what comes before it are left out. The last stage learns the probabilities of a
    `guide`, a classifier of the same labels, in place of the teacher's.
    With several `seeds` (the recipe's, and those that follow it) the best by held-out rows is written, and the card has
    all of them. Dev is looked at once, when nothing is left to choose.

    Raises:
        UserError: the recipe does not fit the teacher or the `start`, `out` is there already, or the student could
            overflow.
    """
    require_new(out)
    teacher = as_read(read_model(teacher_directory), examples.texts, examples.source)
    _require_fitting(teacher, recipe, examples, dev, allow_overflow)
    kept, held_out = hold_out(examples, recipe.data.hold_out)
    if recipe.data.rows is not None and recipe.data.rows < len(kept):
        kept, _ = split_off(kept, 1 - recipe.data.rows / len(kept), recipe.seed)
    tokenizer = read_tokenizer(teacher_directory)
    full = encode(tokenizer, kept.texts, teacher.architecture.positions)
    table = None if published is None else _published_table(published, teacher, tokenizer)
    student = make_student(teacher, tokenizer, full, recipe, table)
    longest = min(recipe.data.longest, student.model.architecture.positions)
    identity = {
        "command": "convert",
        "teacher": file_digest(teacher_directory / "model.safetensors"),
        "data": examples.digest,
        "rows": recipe.seed,
        **_digests(published=published, start=start, guide=guide),
    }
    own_recipe = _distilled_by(recipe, longest, started=start is not None)
    own = encode(student.tokenizer, kept.texts, longest)
    table_cut = measure_table_cut(student, teacher, own, full)
    say(str(table_cut))
    calibrated = _calibrate(student, teacher, own, recipe)
    first = calibrated if start is None else _started(calibrated, read_model(start))
    itself = reads_pieces(teacher, student.kept) if recipe.logits.noise else reads_rows(teacher, full)
    guiding = _guiding(guide, itself, student, own, recipe, kept)
    student = replace(student, model=first)
    trained = _distilled(student, teacher, guiding, own, own_recipe, identity, run_path, seeds)
    if recipe.row_limits and not student.model.architecture.bounded:
        usual = Texts(own[:_USUAL_ROWS], own[:_USUAL_ROWS], None).with_long(
            student.model, student.model, longest, recipe.seed
        )
        trained = {seed: (with_row_limits(one, usual.own), phases) for seed, (one, phases) in trained.items()}
    calibrated = as_stored(calibrated, recipe.weights)

    data_sets = {"held out": held_out if len(held_out) else kept.take(np.arange(min(len(kept), 1000)))}
    if dev is not None:
        data_sets["dev"] = dev
    checks = make_checks(teacher, tokenizer, student, data_sets, longest, recipe.seed)
    before = _Before(checks.teachers, checks.evaluate(calibrated), checks.agreement(calibrated), table_cut)
    attempts = [_measured(seed, *trained[seed], recipe, checks) for seed in trained]
    attempt = best(attempts, MIN_HEADROOM_BITS)
    headroom = attempt.headroom
    assert headroom is not None
    if headroom.bits < MIN_HEADROOM_BITS and not allow_overflow:
        raise UserError(
            f"the student has {headroom.bits:.1f} bits of headroom and could overflow unseen; it was not written. "
            "Change the recipe, or write it all the same with --allow-overflow"
        )
    certificate = Certificate(headroom_bits=round(headroom.bits, 2))
    model = replace(attempt.model, certificate=certificate, directory=None)
    provenance = Provenance(command, examples.source.name, examples.digest, len(kept), note)
    with new_directory(out) as directory:
        # Rounded once: rows that are rounded already have other scales.
        written = replace(model, parameters=trained[attempt.seed][0].parameters)
        write_model(written, directory, weights=recipe.weights)
        _write_tokenizer(student, teacher_directory, directory)
        card = _card(
            out.name, model, recipe, before, attempts, attempt, headroom, provenance, {"start": start, "guide": guide}
        )
        (directory / "README.md").write_text(card, encoding="utf-8")
    return Converted(
        replace(model, directory=out), before.teacher.get("dev"), attempt.evaluations.get("dev"),
        before.calibrated.get("dev"), headroom, attempt.agreement,
    )  # fmt: skip


def _measured(seed: int, model: Model, phases: dict[str, Trained], recipe: Recipe, checks: Checks) -> Attempt:
    stored = as_stored(model, recipe.weights)  # what is measured is what is shipped
    headroom = measure_headroom(stored, checks.stress)
    return Attempt(seed, stored, phases, checks.evaluate(stored), headroom, checks.agreement(stored))


def _require_fitting(
    teacher: Model, recipe: Recipe, examples: Examples, dev: Examples | None, allow_overflow: bool
) -> None:
    """Refuse data of other labels than the teacher's, and a recipe whose student nothing bounds."""
    for data in (examples, dev):
        if data is not None and data.labels is not None and len(data.label_names) != teacher.architecture.labels:
            count = len(data.label_names)
            raise UserError(f"{data.source}: {count} labels, the teacher knows {teacher.architecture.labels}")
    if dev is not None:
        as_read(replace(teacher, plain=False), dev.texts, dev.source)
    if not allow_overflow and not recipe.bounded(teacher.architecture):
        raise UserError(
            f"recipe {recipe.name}: a norm without a root bounds nothing, and its student could overflow unseen; "
            "convert it all the same with --allow-overflow"
        )


def _published_table(published: Path, teacher: Model, tokenizer: Tokenizer) -> np.ndarray:
    """The word table [vocabulary, width] of a published model, which must have the teacher's word pieces.

    Raises:
        UserError: the model cannot be read, or its word pieces are others.
    """
    model = read_pretrained(published, teacher.architecture.label_names)
    table = model.parameters["embedding"]["word"]
    same_pieces = read_tokenizer(published).get_vocab() == tokenizer.get_vocab()
    if not same_pieces or table.shape != teacher.parameters["embedding"]["word"].shape:
        raise UserError(
            f"--published {published}: its word pieces or their width are not the teacher's; "
            "name the model that the teacher was made from"
        )
    return table


def _distilled(
    student: Student,
    teacher: Model,
    guide: Guide,
    sequences: Sequences,
    recipe: Recipe,
    identity: Mapping[str, object],
    run_path: Path,
    seeds: int,
) -> dict[int, tuple[Model, dict[str, Trained]]]:
    """The student after its training, and what that took, by seed."""
    found, programs = {}, Programs()
    for seed in range(recipe.seed, recipe.seed + seeds):
        chosen = recipe.model_copy(update={"seed": seed})
        own_identity = {**identity, "recipe": chosen.model_dump(mode="json", exclude={"weights", "row_limits"})}
        with RunDirectory(run_path / f"seed-{seed}", own_identity) as run:
            found[seed] = distil(student, teacher, guide, sequences, chosen, run, programs)
    return found


def _digests(**models: Path | None) -> dict[str, str]:
    return {what: file_digest(one / "model.safetensors") for what, one in models.items() if one is not None}


def _distilled_by(recipe: Recipe, longest: int, *, started: bool) -> Recipe:
    """The recipe for texts up to the `longest`; without stage 1 and what comes before it where that was done."""
    changes: dict[str, object] = {"data": recipe.data.model_copy(update={"longest": longest})}
    if started:
        changes |= {"progressive": None, "hidden": recipe.hidden.model_copy(update={"epochs": 0})}
    return recipe.model_copy(update=changes)


def _started(calibrated: Model, start: Model) -> Model:
    """The calibrated student with what a trained one has of its parameters.

    Raises:
        UserError: that one differs in more than the roots of its norms.
    """
    if with_roots(start.architecture) != with_roots(calibrated.architecture):
        raise UserError(
            f"--start {start.directory}: differs from this recipe's student in more than its norms' roots; "
            "give one of the same teacher, functions, word pieces and labels"
        )
    parameters = {stage: own | start.parameters[stage] for stage, own in calibrated.parameters.items()}
    if calibrated.architecture.embedding == "public":  # as it was published, whatever a file has rounded
        parameters["embedding"]["word"] = calibrated.parameters["embedding"]["word"]
    return replace(calibrated, parameters=parameters)


def _guiding(
    guide: Path | None, teacher: Guide, student: Student, own: Sequences, recipe: Recipe, kept: Examples
) -> Guide:
    """Whose probabilities the last stage learns; `own` are the student's texts.

    Raises:
        UserError: there is no such stage, or the guide cannot read what the student reads.
    """
    if guide is None:
        return teacher
    if not recipe.logits.epochs:
        raise UserError(f"--guide: recipe {recipe.name} leaves out the last stage, which a guide is for")
    model = read_guide(guide, kept)
    return make_guide_beside(model, student.tokenizer, own) if recipe.logits.noise else make_guide(model, kept.texts)


def _calibrate(student: Student, teacher: Model, sequences: Sequences, recipe: Recipe) -> Model:
    rows = np.random.default_rng(recipe.seed).permutation(len(sequences))[: recipe.calibration_rows]
    chosen = [sequences[row] for row in rows]
    plan = plan_batches([len(sequence) for sequence in chosen], tokens_per_batch=recipe.data.tokens_per_batch)
    return calibrate(student, teacher, chosen, plan, recipe.fit_activation)


def _write_tokenizer(student: Student, teacher_directory: Path, directory: Path) -> None:
    student.tokenizer.no_padding()
    student.tokenizer.no_truncation()
    student.tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    settings = teacher_directory / "tokenizer_config.json"
    if settings.is_file():
        (directory / settings.name).write_bytes(settings.read_bytes())


def _card(
    name: str,
    model: Model,
    recipe: Recipe,
    before: _Before,
    attempts: Sequence[Attempt],
    chosen: Attempt,
    headroom: Headroom,
    provenance: Provenance,
    sources: Mapping[str, Path | None],
) -> str:
    columns = {
        data: {"teacher": before.teacher[data], "before distillation": before.calibrated[data], "student": evaluation}
        for data, evaluation in chosen.evaluations.items()
    }
    summary = {
        "library_name": "freediv",
        "pipeline_tag": "text-classification",
        "freediv": {
            "recipe": recipe.name,
            **{what: one.name for what, one in sources.items() if one is not None},
            "seed": chosen.seed,
            "headroom_bits": round(headroom.bits, 2),
            "training_seconds": round(chosen.seconds),
            "device": training_device(),
            "accuracy": {
                data: {who: evaluation.to_dict() for who, evaluation in own.items() if evaluation is not None}
                for data, own in columns.items()
            },
            "seeds": [attempt.summary() for attempt in attempts],
        },
    }
    titles = {"dev": "Accuracy on dev", "held out": "Accuracy on rows kept out of the training"}
    return render_card(
        f"{name}: a student for private inference",
        summary,
        [
            model_section(model.architecture, str(before.table_cut)),
            *(accuracy_section(columns[data], title) for data, title in titles.items() if data in columns),
            attempts_section(attempts, chosen),
            agreement_section(chosen.agreement, before.agreement),
            headroom_section(headroom, stage_bounds(model), model.architecture),
            provenance_section(provenance),
            settings_section("Recipe", recipe.model_dump(mode="json", exclude_none=True)),
            training_section(chosen.phases),
            versions_section(),
        ],
    )
