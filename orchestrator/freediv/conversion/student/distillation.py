"""Distillation: the student learns the teacher's hidden states, and then its logits. Neither needs labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...model import Architecture, Model
from ...model.blocks import blocks_of
from ...model.functions.norms import NORMALISATIONS
from ..run_directory import RunDirectory
from ..training.blocks import trains
from ..training.epochs import Mixture, draw_epochs, with_logits
from ..training.guide import Guide
from ..training.loop import Loss, Phase, Schedule, Trained, train
from ..training.losses import hidden_state_loss, logit_loss, rootless_loss
from ..training.steps import Programs
from .calibration import calibrate_norms
from .recipe import ConstantsRecipe, ProgressiveRecipe, Recipe, StageRecipe
from .replacement import Student


def distil(
    student: Student,
    teacher: Model,
    guide: Guide,
    own_sequences: Sequence[np.ndarray],
    recipe: Recipe,
    run: RunDirectory,
    programs: Programs,
) -> tuple[Model, dict[str, Trained]]:
    """Train a calibrated student in all its stages.

    Args:
        student: the student, with its constants set.
        teacher: stays as it is.
        guide: whose logits the last stage learns: the teacher, or a larger classifier; it reads noise if that has any.
        own_sequences: the training texts in the student's word pieces.
        recipe: epochs, learning rates, and the share of long sequences.
        run: holds the checkpoints.
        programs: steps that were compiled for other seeds of the same student.

    Returns:
        The student after all stages, and what each took, by name.
    """
    return _Distillation(student, teacher, guide, own_sequences, recipe, run, programs).all()


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
    ) -> None:
        self._teacher, self._recipe, self._run = teacher, recipe, run
        self._own, self._guide, self._programs = own_sequences, guide, programs
        self._model, self._done, self._layers = student.model, dict[str, Trained](), student.layers
        # Aligned position by position: the teacher reads the student's word pieces.
        self._beside: dict[str, Any] = {"teacher": teacher.parameters, "kept": student.kept}

    def all(self) -> tuple[Model, dict[str, Trained]]:
        recipe, teacher, architecture = self._recipe, self._teacher.architecture, self._model.architecture
        exact = with_roots(architecture)
        if recipe.progressive is not None:
            for step, mixed in enumerate(replaced_so_far(exact, teacher, self._layers, recipe.progressive), start=1):
                loss = hidden_state_loss(mixed, teacher, self._layers)
                self._train(f"progressive-{step}", loss, recipe.progressive, 100 + step, self._beside)
        if recipe.hidden.epochs:
            self._train("hidden", hidden_state_loss(exact, teacher, self._layers), recipe.hidden, 1, self._beside)
        penalty = 0.0
        if exact != architecture:
            penalty = recipe.norms.penalty
            self._model = calibrate_norms(self._model, exact, self._own[: recipe.calibration_rows])
            loss = rootless_loss(architecture, teacher, self._layers, recipe.norms.anneal, penalty)
            self._train("norms", loss, recipe.norms, 3, self._beside)
        if recipe.logits.epochs:
            self._train("logits", logit_loss(architecture, penalty), recipe.logits, 2, None)
        return self._model, self._done

    def _train(self, name: str, loss: Loss, stage: StageRecipe, number: int, constants: Any) -> None:
        seed, architecture = self._recipe.seed, self._model.architecture
        blocks = tuple(number for number, layer in enumerate(self._layers) if layer in self._recipe.blocks)
        data, precision = self._recipe.data, self._recipe.precision
        mixture = Mixture(stage.rows, data.long_share, data.longest, data.tokens_per_batch, data.shapes, stage.noise)
        rows = draw_epochs(self._own, architecture.separator_token, stage.epochs, mixture, (seed, number))
        last = constants is None
        epochs = tuple(one.epoch for one in rows)
        if last:
            epochs = with_logits(rows, self._guide.model, self._guide.read, self._run, precision)
        rates = _Rates(architecture, self._recipe.constants, blocks, trains_classifier=last)
        phase = Phase(
            name,
            loss,
            epochs,
            Schedule(
                stage.learning_rate, stage.warmup_steps, stage.weight_decay, stage.clip, accumulate=stage.accumulate
            ),
            architecture.pad_token,
            seed + number - 1,
            rates.of,
            precision=precision,
        )
        self._done[name] = train(phase, self._model.parameters, constants, self._run, self._programs)
        self._model = replace(self._model, parameters=self._done[name].parameters)


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


class _Rates:
    """The factors on parameters' learning rates."""

    def __init__(
        self, architecture: Architecture, constants: ConstantsRecipe, blocks: Sequence[int], *, trains_classifier: bool
    ) -> None:
        self._blocks, self._trains_classifier = blocks, trains_classifier
        self._frozen_table = architecture.embedding == "public"
        self._of_constants = {  # what their functions say that these rates are called
            (block.name, name): float(getattr(constants, constant.rate))
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
