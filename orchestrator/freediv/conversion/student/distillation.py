"""Distillation: the student learns the teacher's hidden states, and then its logits. Neither needs labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...model import Architecture, Model
from ...model.blocks import blocks_of
from ...model.functions.norms import NORMALISATIONS
from ..run_directory import RunDirectory
from ..training.blocks import trains
from ..training.epochs import Mixture, Rows, draw_epochs, held_out_rows, with_logits
from ..training.guide import Guide
from ..training.loop import train
from ..training.losses import hidden_state_loss, logit_loss, rootless_loss
from ..training.outlook import Outlook
from ..training.phase import Loss, Phase, Schedule, Trained
from ..training.steps import Programs
from ..training.stopping import stopping
from .calibration import calibrate_norms
from .recipe import ProgressiveRecipe, Recipe, StageRecipe
from .replacement import Student


def distil(
    student: Student,
    teacher: Model,
    guide: Guide,
    own_sequences: Sequence[np.ndarray],
    recipe: Recipe,
    run: RunDirectory,
    programs: Programs,
    held_out: Sequence[np.ndarray] = (),
    trainings: int = 1,
) -> tuple[Model, dict[str, Trained]]:
    """Train a calibrated student in all its stages.

    Args:
        student: the student, with its constants set.
        teacher: stays as it is.
        guide: whose logits the last stage learns: the teacher, or a larger classifier; it reads noise if that has any,
            and texts that are held out after those that are trained on.
        own_sequences: the training texts in the student's word pieces.
        recipe: epochs, learning rates, and the share of long sequences.
        run: holds the checkpoints.
        programs: steps that were compiled for other seeds of the same student.
        held_out: texts that are not trained on, which may end a stage; needed where the recipe has patience.
        trainings: how many are left, this one included, for the time that is told.

    Returns:
        The student after all stages, and what each took, by name.
    """
    distillation = _Distillation(student, teacher, guide, own_sequences, recipe, run, programs, held_out)
    return distillation.all(trainings)


@dataclass(frozen=True)
class _Stage:
    """What a stage minimises, and how; `number` tells its randomness from others', `last` that it learns logits."""

    name: str
    loss: Loss
    recipe: StageRecipe
    number: int
    last: bool = False


class _Distillation:
    """One student's phases, in order; each starts from the parameters of the one before."""

    def __init__(
        self,
        student: Student,
        teacher: Model,
        guide: Guide,
        own_sequences: Sequence[np.ndarray],
        recipe: Recipe,
        run: RunDirectory,
        programs: Programs,
        held_out: Sequence[np.ndarray],
    ) -> None:
        self._teacher, self._recipe, self._run = teacher, recipe, run
        self._own, self._held_out, self._guide, self._programs = own_sequences, held_out, guide, programs
        self._model, self._done, self._layers = student.model, dict[str, Trained](), student.layers
        # Aligned position by position: the teacher reads the student's word pieces.
        self._beside: dict[str, Any] = {"teacher": teacher.parameters, "kept": student.kept}

    def all(self, trainings: int) -> tuple[Model, dict[str, Trained]]:
        stages = list(self._stages())
        rows = {stage.name: self._rows(stage) for stage in stages}
        steps = {name: sum(len(one.epoch.plan) for one in own) for name, own in rows.items()}
        outlook = Outlook(steps, trainings)
        for stage in stages:
            self._train(stage, rows.pop(stage.name), outlook)
        return self._model, self._done

    def _stages(self) -> Iterator[_Stage]:
        recipe, teacher, architecture = self._recipe, self._teacher.architecture, self._model.architecture
        exact = with_roots(architecture)
        if recipe.progressive is not None:
            for step, mixed in enumerate(replaced_so_far(exact, teacher, self._layers, recipe.progressive), start=1):
                loss = hidden_state_loss(mixed, teacher, self._layers)
                yield _Stage(f"progressive-{step}", loss, recipe.progressive, 100 + step)
        if recipe.hidden.epochs:
            yield _Stage("hidden", hidden_state_loss(exact, teacher, self._layers), recipe.hidden, 1)
        penalty = 0.0
        if exact != architecture:
            penalty = recipe.norms.penalty
            loss = rootless_loss(architecture, teacher, self._layers, recipe.norms.anneal, penalty)
            yield _Stage("norms", loss, recipe.norms, 3)
        if recipe.logits.epochs:
            yield _Stage("logits", logit_loss(architecture, penalty), recipe.logits, 2, last=True)

    def _mixture(self, stage: StageRecipe) -> Mixture:
        data = self._recipe.data
        return Mixture(stage.pieces, data.long_share, data.longest, data.tokens_per_batch, data.shapes, stage.noise)

    def _rows(self, stage: _Stage) -> tuple[Rows, ...]:
        """Those of its epochs."""
        separator, seed = self._model.architecture.separator_token, (self._recipe.seed, stage.number)
        return draw_epochs(self._own, separator, stage.recipe.epochs, self._mixture(stage.recipe), seed)

    def _train(self, stage: _Stage, rows: tuple[Rows, ...], outlook: Outlook) -> None:
        recipe, own, architecture = self._recipe, stage.recipe, self._model.architecture
        if stage.name == "norms":
            texts = self._own[: recipe.calibration_rows]
            self._model = calibrate_norms(self._model, with_roots(architecture), texts)
        judged: tuple[Rows, ...] = ()
        if own.patience:
            judged = (held_out_rows([*self._own, *self._held_out], len(self._own), self._mixture(own)),)
        epochs = tuple(one.epoch for one in (*rows, *judged))
        if stage.last:
            epochs = with_logits((*rows, *judged), self._guide.model, self._guide.read, self._run, recipe.precision)
        constants = None if stage.last else self._beside
        pad_token, precision = architecture.pad_token, recipe.precision
        phase = Phase(
            stage.name,
            stage.loss,
            epochs[: len(rows)],
            Schedule(own.learning_rate, own.warmup_steps, own.weight_decay, own.clip, accumulate=own.accumulate),
            pad_token,
            recipe.seed + stage.number - 1,
            Rates(architecture, recipe, self._layers, trains_classifier=stage.last).of,
            stopping(own.patience, stage.loss, epochs[len(rows) :], constants, pad_token, precision),
            precision,
        )
        done = train(phase, self._model.parameters, constants, self._run, self._programs, outlook)
        self._done[stage.name] = done
        self._model = replace(self._model, parameters=done.parameters)


def with_roots(architecture: Architecture) -> Architecture:
    """The same with LayerNorm in place of norms without a root, whose constants it does not read."""

    def rooted(name: str) -> str:
        return "layernorm" if NORMALISATIONS[name].constants else name

    functions = tuple(
        f.model_copy(
            update={"attention_norm": rooted(f.attention_norm), "feed_forward_norm": rooted(f.feed_forward_norm)}
        )
        for f in architecture.functions
    )
    return architecture.model_copy(
        update={"functions": functions, "embedding_norm": rooted(architecture.embedding_norm)}
    )


def replaced_so_far(
    student: Architecture, teacher: Architecture, layers: Sequence[int], recipe: ProgressiveRecipe
) -> tuple[Architecture, ...]:
    """The student, which has these layers of the teacher, with its own functions in some of them and the teacher's in
    the others, one architecture a step.
    """
    order = list(range(student.layers)) if recipe.order == "up" else list(reversed(range(student.layers)))
    found = []
    for end in range(recipe.layers_at_once, student.layers, recipe.layers_at_once):
        own = set(order[:end])
        functions = tuple(
            student.functions[number] if number in own else teacher.functions[layer]
            for number, layer in enumerate(layers)
        )
        found.append(student.model_copy(update={"functions": functions}))
    return tuple(found)


class Rates:
    """The factors on parameters' learning rates, of a student that has these layers of the teacher."""

    def __init__(
        self, architecture: Architecture, recipe: Recipe, layers: Sequence[int], *, trains_classifier: bool
    ) -> None:
        self._blocks = tuple(number for number, layer in enumerate(layers) if layer in recipe.blocks)
        self._trains_classifier = trains_classifier
        self._frozen_table = architecture.embedding == "public"
        self._of_constants = {  # what their functions say that these rates are called
            (block.name, name): float(getattr(recipe.constants, constant.rate))
            for block in blocks_of(architecture)
            for name, constant, _ in block.constants()
        }

    def of(self, stage: str, name: str) -> float:
        """That of one parameter; 0: it stays."""
        if stage == "classifier" and not self._trains_classifier:
            return 0.0
        if (name == "word" and self._frozen_table) or not trains(self._blocks, stage):
            return 0.0
        return self._of_constants.get((stage, name), 1.0)
