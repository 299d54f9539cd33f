"""Students before any training, whose blocks are fitted to what the teacher's leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
import yaml
from freediv.conversion.cards.card import read_card
from freediv.conversion.converting import _calibrate
from freediv.conversion.student.distillation import with_roots
from freediv.conversion.student.recipe import Recipe, RefitRecipe
from freediv.conversion.student.replacement import Student, make_student
from freediv.conversion.training.losses import hidden_state_loss
from freediv.model import Model, forward, hidden_states
from freediv.model.answers import answer_of
from freediv.model.reading.texts import TextReader
from tiny import PUBLISHED
from tokenizers import Tokenizer, models

from .conftest import RECIPE, Task, freediv

RNG = np.random.default_rng(0)
TEXTS = [RNG.integers(1, 40, RNG.integers(3, 17)).astype(np.int32) for _ in range(400)]
OTHERS = [RNG.integers(1, 40, 16).astype(np.int32) for _ in range(32)]
READER = TextReader(Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w0")))
FUNCTIONS = {
    "attention": "2quad-freediv",
    "activation": "quad",
    "attention_norm": "layernorm",
    "feed_forward_norm": "layernorm",
}
NORM_FIRST = {"norm_first": True, "final_norm": "layernorm"}
SAME = {**PUBLISHED, "attention_norm": "layernorm", "feed_forward_norm": "layernorm"}


def teacher_of(layers: int = 3, **fields: object) -> Model:
    return tiny.model(layers=layers, scale=0.5, **{**PUBLISHED, **fields})


def student_of(
    teacher: Model, functions: dict[str, str] = FUNCTIONS, refit: dict[str, object] | None = None, **recipe: object
) -> Student:
    """A student calibrated, and refitted where it says how."""
    data = {"long_share": 0.0, "tokens_per_batch": 256}
    made = Recipe(**{"name": "x", "functions": functions, "positions": 16, "data": data, "refit": refit, **recipe})
    student = make_student(teacher, READER, TEXTS, made)
    return replace(student, model=_calibrate(student, teacher, TEXTS, made))


def refitted(teacher: Model, functions: dict[str, str] = FUNCTIONS, trained: int = 0, **recipe: object) -> Student:
    """A student whose blocks are trained alone on so many pieces."""
    return student_of(teacher, functions, {"pieces": 3000, "trained": trained, "learning_rate": 3e-3}, **recipe)


def students(
    teacher: Model, functions: dict[str, str] = FUNCTIONS, trained: int = 0, **recipe: object
) -> tuple[Student, Student]:
    """One calibrated, and one refitted, too."""
    return student_of(teacher, functions, **recipe), refitted(teacher, functions, trained, **recipe)


def error(student: Student, teacher: Model) -> float:
    """Of hidden states, on texts that nothing was fitted to."""
    batch = {"token_ids": np.stack(OTHERS), "mask": np.ones((32, 16)), "weight": np.ones(32)}
    loss = hidden_state_loss(with_roots(student.model.architecture), teacher.architecture, student.layers)
    constants = {"teacher": teacher.parameters, "kept": student.kept}
    return float(jax.jit(loss)(student.model.parameters, constants, batch, jax.random.key(0)))


@pytest.mark.parametrize(
    ("fields", "recipe"),
    [
        ({}, {}),
        (NORM_FIRST, {}),
        ({"gated": True, **NORM_FIRST, "without_bias": ("attention", "feed_forward")}, {}),
        ({"relative_buckets": 8}, {}),
        ({}, {"sizes": {"heads": 3, "intermediate": 16}}),
        ({}, {"leave_out": [1]}),
        ({}, {"layers": {0: {"pool": {"rows": 2}}}}),
        ({}, {"functions": {**FUNCTIONS, "attention": "2quad"}}),
        ({}, {"functions": {**FUNCTIONS, "feed_forward_norm": "layernorm-constant"}}),
    ],
    ids=["bert", "norm first", "no biases", "relative", "thinner", "left out", "pooled", "divided", "without roots"],
)
def test_hidden_states_are_nearer_to_the_teachers(fields: dict[str, object], recipe: dict[str, object]) -> None:
    teacher = teacher_of(**fields)
    before, after = (error(student, teacher) for student in students(teacher, **{"functions": FUNCTIONS, **recipe}))
    assert after < 0.8 * before


@pytest.mark.parametrize(
    ("fields", "recipe"),
    [
        ({"relative_buckets": 8}, {}),
        (NORM_FIRST, {}),
        ({}, {"layers": {0: {"pool": {"rows": 2}}}}),
        ({}, {"functions": {**FUNCTIONS, "feed_forward_norm": "layernorm-constant"}}),
    ],
    ids=["relative", "norm first", "pooled", "without roots"],
)
def test_blocks_that_are_trained_alone_are_nearer_still(fields: dict[str, object], recipe: dict[str, object]) -> None:
    teacher = teacher_of(**fields)
    fitted, trained = (
        error(refitted(teacher, **{"functions": FUNCTIONS, **recipe, "trained": pieces}), teacher)
        for pieces in (0, 30_000)
    )
    assert trained < 0.9 * fitted


def test_the_classifier_then_learns_what_the_teacher_answers() -> None:
    """Where calibration had a dozen texts; all else of this student is as the teacher has it."""
    teacher = teacher_of()
    inputs = {"token_ids": np.stack(OTHERS), "mask": np.ones((32, 16), np.float32)}

    def logits(model: Model, classifier: Mapping[str, np.ndarray]) -> np.ndarray:
        parameters = {**model.parameters, "classifier": classifier}
        return np.asarray(forward(model.architecture, parameters, inputs))

    own = teacher.parameters["classifier"]
    own |= {"weight": 6 * own["weight"]}
    own |= {"bias": own["bias"] - logits(teacher, own).mean(axis=0)}  # neither label is every text's
    wanted = logits(teacher, own)
    models = [one.model for one in students(teacher, SAME, trained=30_000, calibration_rows=12)]
    first, last = (
        float(np.mean(answer_of(teacher.architecture).distance(logits(models[1], one), wanted, inputs["mask"])))
        for one in (model.parameters["classifier"] for model in models)
    )
    assert last < 0.5 * first


def test_of_blocks_that_are_not_to_be_trained_last_maps_alone_are_fitted() -> None:
    teacher = teacher_of()
    before, after = (one.model.parameters for one in students(teacher, trained=3000, blocks=[1]))
    changed = {
        stage: {name for name, value in own.items() if not np.array_equal(value, after[stage][name])}
        for stage, own in before.items()
    }
    fitted = {"output.weight", "output.bias"}
    assert changed["encoder.2.feed_forward"] == fitted
    assert changed["encoder.2.attention"] - {"constants.c", "constants.log_k"} == fitted
    assert changed["encoder.1.feed_forward"] == set(before["encoder.1.feed_forward"])


@pytest.mark.parametrize("functions", [SAME, FUNCTIONS], ids=["published", "a student"])
def test_a_student_that_is_as_its_teacher_stays_so(functions: dict[str, str]) -> None:
    teacher = teacher_of(**functions)
    before, after = students(teacher, functions)
    for stage, own in before.model.parameters.items():
        for name, value in own.items():
            np.testing.assert_allclose(after.model.parameters[stage][name], value, atol=1e-5)


def test_the_last_map_is_the_ridge_regression() -> None:
    """Of one layer, by a solver of least squares over all rows, with the ridge as rows of its own."""
    teacher = teacher_of(1)
    texts = [text for text in TEXTS if len(text) == 16]
    recipe = Recipe(name="x", functions={**FUNCTIONS, "attention": PUBLISHED["attention"]}, data={"long_share": 0.0})
    student = make_student(teacher, READER, texts, recipe)
    plain = _calibrate(student, teacher, texts, recipe)
    ridge = 0.01
    fitting = recipe.model_copy(update={"refit": RefitRecipe(pieces=10**6, ridge=ridge)})
    fitted = _calibrate(student, teacher, texts, fitting)
    seen: dict[str, dict[str, np.ndarray]] = {"teacher": {}, "student": {}}
    inputs = {"token_ids": np.stack(texts), "mask": np.ones((len(texts), 16), np.float32)}
    for name, model in (("teacher", teacher), ("student", plain)):
        hidden_states(model.architecture, model.parameters, inputs, observe=seen[name].__setitem__)
    rows = {name: np.asarray(own["encoder.0.feed_forward/residual"]).reshape(-1, 16) for name, own in seen.items()}
    held = np.asarray(seen["student"]["encoder.0.feed_forward/activation_out"], np.float64).reshape(-1, 24)
    held = np.concatenate([held, np.ones((len(held), 1))], axis=1)
    weight = np.sqrt(ridge * np.mean(np.square(held).sum(axis=0)))
    change, *_ = np.linalg.lstsq(
        np.concatenate([held, weight * np.eye(25)]),
        np.concatenate([rows["teacher"] - rows["student"], np.zeros((25, 16))]),
        rcond=None,
    )
    own, before = (model.parameters["encoder.0.feed_forward"] for model in (fitted, plain))
    np.testing.assert_allclose(own["output.weight"], before["output.weight"] + change[:-1], atol=1e-4)
    np.testing.assert_allclose(own["output.bias"], before["output.bias"] + change[-1], atol=1e-4)


def test_squared_attention_grows_as_the_exponential_does_around_its_mean_score() -> None:
    """And weighs as much as before. Of the first layer, whose rows nothing has changed yet."""
    teacher = teacher_of()
    before, after = (student.model for student in students(teacher))
    ids = np.stack([text for text in TEXTS if len(text) == 16])
    seen: dict[str, np.ndarray] = {}
    inputs = {"token_ids": ids, "mask": np.ones(ids.shape, np.float32)}
    hidden_states(teacher.architecture, teacher.parameters, inputs, observe=seen.__setitem__)
    mean = np.asarray(seen["encoder.0.attention/scores"]).mean(axis=(0, 2, 3))
    assert np.ptp(mean) > 1
    own = after.parameters["encoder.0.attention"]
    np.testing.assert_allclose(own["constants.c"], np.maximum(1, 2 - mean), atol=0.3)
    weights = []
    for model in (before, after):
        hidden_states(model.architecture, model.parameters, inputs, observe=seen.__setitem__)
        weights.append(np.asarray(seen["encoder.0.attention/weights"]).mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(weights[1], weights[0], rtol=0.1)


def test_a_recipe_may_fit_and_not_train(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a student is made in seconds, and says nearly what its teacher says."""
    recipe = {**yaml.safe_load(RECIPE), "refit": {}}
    del recipe["data"]["longest"]  # beyond its positions, of which there are 32
    recipe |= {stage: {"epochs": 0, "learning_rate": 1e-4} for stage in ("hidden", "logits")}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    arguments = ("--recipe", tmp_path / "recipe.yaml", "--data", task.train, "--dev", task.dev)
    assert freediv(monkeypatch, "convert", teacher, *arguments, "-o", tmp_path / "student") == 0
    accuracy = read_card(tmp_path / "student")["accuracy"]["dev"]
    assert accuracy["student"]["accuracy"] > 0.8 and accuracy["teacher"]["accuracy"] > 0.9
