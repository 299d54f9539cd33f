"""Constants of the student's functions, set from the teacher's activations before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...model import Architecture, Model, Parameters, hidden_states, stages
from ...model.answers import answer_of
from ...model.blocks import Classifier, blocks_of
from ...model.functions.activation import ACTIVATIONS
from ...model.functions.attention import ATTENTIONS
from ...model.functions.pooling import of_pooled, pooled
from ...model.masks import made_of_mask
from ...progress import Meter
from ..texts.batches import BatchPlan, plan_batches
from ..training.losses import taught_states
from .replacement import Student

Array = jax.Array


def calibrate(student: Student, teacher: Model, sequences: Sequence[np.ndarray], plan: BatchPlan, fit: bool) -> Model:
    """The student with its constants set; `sequences` are in the student's word pieces.

    Every layer is shown the teacher's hidden states, which is where training will take the student's. Then:
    k = 1 / mean row sum of a freeDiv attention's weights, per head (which mean, the function says); with `fit`, a
    quadratic's coefficients by least squares against the teacher's activation on the values it sees; where poolers
    differ, the classifier by least squares against the teacher's logits. A function that the teacher has, too, keeps
    the teacher's constants.
    """
    architecture = student.model.architecture
    run = jax.jit(partial(_statistics, architecture, teacher.architecture, student.layers))
    total: Any = None
    with Meter("calibrate", len(plan)) as meter:
        for index in range(len(plan)):
            batch = plan.batch(index, sequences, None, architecture.pad_token)
            inputs = student.as_teachers(batch.inputs)
            found = run(student.model.parameters, teacher.parameters, inputs, batch.weight)
            found = jax.tree.map(lambda value: np.asarray(value, np.float64), found)
            total = found if total is None else jax.tree.map(np.add, total, found)
            meter.update(index + 1)
    parameters = {stage: dict(own) for stage, own in student.model.parameters.items()}
    for layer, functions in enumerate(architecture.functions):
        attention = parameters[f"encoder.{layer}.attention"]
        teachers = teacher.architecture.functions[student.layers[layer]]
        if "constants.log_k" in attention and functions.attention != teachers.attention:
            rows, sums, logs = (total[f"{layer}.{name}"] for name in ("rows", "sums", "logs"))
            geometric = ATTENTIONS[functions.attention].mean == "geometric"
            mean = logs / rows if geometric else np.log(sums / rows)
            attention["constants.log_k"] = np.asarray(attention["constants.log_k"] - mean, np.float32)
        feed_forward = parameters[f"encoder.{layer}.feed_forward"]
        own_fit = ACTIVATIONS[functions.activation].fit
        if fit and own_fit is not None and functions.activation != teachers.activation:
            for name, value in (own_fit(total[f"{layer}.gram"], total[f"{layer}.moment"]) or {}).items():
                feed_forward[f"constants.{name}"] = np.asarray(value, np.float32)
    if architecture.pooler != teacher.architecture.pooler:
        _fit_classifier(parameters["classifier"], total["classifier.gram"], total["classifier.moment"])
    return replace(student.model, parameters=parameters)


def calibrate_norms(student: Model, exact: Architecture, sequences: Sequence[np.ndarray]) -> Model:
    """The student with g of its norms without a root set: the mean of 1 / std in log space, as norms with one see it.

    `exact` is the student's architecture with roots; position 0 has a g of its own.
    """
    plan = plan_batches([len(sequence) for sequence in sequences], tokens_per_batch=1024)
    names = [name for name, own in student.parameters.items() if "norm.log_g" in own]

    @jax.jit
    def logarithms(parameters: Parameters, inputs: Mapping[str, Array], weight: Array) -> dict[str, Array]:
        seen: dict[str, Array] = {}
        hidden_states(exact, parameters, inputs, observe=seen.__setitem__)
        masks, found = made_of_mask(exact, inputs["mask"]), {}
        for stage in stages(exact):
            if stage.name in names:
                real = masks[of_pooled("mask", stage.pools)] * weight[:, None]
                logs = jnp.log(seen[f"{stage.name}/variance"][..., 0] + exact.norm_epsilon) * real
                found[stage.name] = jnp.array([[x[:, 0].sum(), x[:, 1:].sum()] for x in (logs, real)])
        return found

    total: Any = None
    for index in range(len(plan)):
        batch = plan.batch(index, sequences, None, exact.pad_token)
        found = logarithms(student.parameters, batch.inputs, batch.weight)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    parameters = {stage: dict(own) for stage, own in student.parameters.items()}
    for name in names:
        logs, rows = total[name]
        parameters[name]["norm.log_g"] = np.asarray(-0.5 * logs / np.maximum(rows, 1), np.float32)
    return replace(student, parameters=parameters)


def _statistics(
    architecture: Architecture,
    teacher: Architecture,
    layers: tuple[int, ...],
    parameters: Parameters,
    teacher_parameters: Parameters,
    inputs: Mapping[str, Array],
    weight: Array,
) -> dict[str, Array]:
    """Sums over a batch's real rows of what `calibrate` needs, each layer of the student given the teacher's input."""
    seen: dict[str, Array] = {}
    observe = seen.__setitem__
    hidden, logits = hidden_states(teacher, teacher_parameters, inputs, observe=observe)
    values = made_of_mask(architecture, inputs["mask"])
    states = taught_states(layers, teacher)

    def given(number: int) -> Array:
        """What the student is to have after so many layers: the teacher's rows, pooled as its own are."""
        earlier = teacher.pools_before(states[number])
        pools = architecture.pools_before(number)[len(earlier) :]
        return pooled(pools, hidden[states[number]], values[of_pooled("mask", earlier)])[0]

    found: dict[str, Array] = {}
    for stage in stages(architecture):
        if stage.block != "attention" or stage.layer is None or "constants.log_k" not in stage.parameter_shapes:
            continue
        values["hidden"] = given(stage.layer)
        mask = values[of_pooled("mask", stage.pools)] * weight[:, None]
        stage.apply(parameters[stage.name], *(values[name] for name in stage.inputs), observe=observe)
        shared = values[stage.inputs[1] if len(stage.inputs) > 1 else "mask_over_length"]
        row_sums = jnp.einsum("bhqk,bk->bhq", seen["weights"], shared)
        found[f"{stage.layer}.rows"] = mask.sum()
        found[f"{stage.layer}.sums"] = jnp.einsum("bhq,bq->h", row_sums, mask)
        found[f"{stage.layer}.logs"] = jnp.einsum("bhq,bq->h", jnp.log(row_sums + 1e-30), mask)
    for number, layer in enumerate(layers):
        # Least squares of the teacher's activation on (x^2, x, 1).
        x, functions = seen[f"encoder.{layer}.feed_forward/activation_in"], teacher.functions[layer]
        mask = values[of_pooled("mask", teacher.pools_before(layer))] * weight[:, None]
        powers = jnp.stack([x * x, x, jnp.ones_like(x)])
        counted = powers * mask[..., None]
        found[f"{number}.gram"] = jnp.einsum("iblf,jblf->ij", counted, powers)
        found[f"{number}.moment"] = jnp.einsum("iblf,blf->i", counted, ACTIVATIONS[functions.activation].apply(x))
    if not answer_of(architecture).linear:
        return found
    classifier = blocks_of(architecture)[-1]
    assert isinstance(classifier, Classifier)
    values["hidden"] = given(architecture.layers)
    own = classifier.completed(parameters["classifier"])
    features = classifier.features(False, own, *(values[name] for name in classifier.inputs()))
    if architecture.pooler == "identity":
        features = features @ own["pooler.weight"] + own["pooler.bias"]
    features = jnp.concatenate([features, jnp.ones_like(features[..., :1])], axis=-1)
    counted = features * (weight[:, None] if features.ndim == 2 else values["mask"][..., None] * weight[:, None, None])
    found["classifier.gram"] = jnp.einsum("...i,...j->ij", counted, features)
    found["classifier.moment"] = jnp.einsum("...i,...j->ij", counted, logits)
    return found


def _fit_classifier(classifier: dict[str, np.ndarray], gram: np.ndarray, moment: np.ndarray) -> None:
    """Ridge regression of the teacher's logits; gram [width + 1, width + 1], moment [width + 1, labels]."""
    ridge = 1e-3 * np.trace(gram) / len(gram)
    solution = np.linalg.solve(gram + ridge * np.eye(len(gram)), moment)
    classifier |= {"weight": solution[:-1].astype(np.float32), "bias": solution[-1].astype(np.float32)}
