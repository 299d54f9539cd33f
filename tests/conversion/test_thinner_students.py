"""Students that are thinner than their teacher: what is kept of it, and what each part is to become."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from freediv.conversion.cards.card import read_card
from freediv.conversion.student.narrowing import narrowed
from freediv.conversion.student.recipe import Recipe
from freediv.conversion.student.replacement import make_student
from freediv.conversion.training.losses import hidden_state_loss, taught_states
from freediv.errors import UserError
from freediv.model import LayerSizes, Model, forward, hidden_states, read_model
from freediv.model.functions.pooling import Pool
from freediv.model.reading.texts import TextReader
from tiny import PUBLISHED
from tokenizers import Tokenizer, models

from .conftest import RECIPE, Task, freediv

SEQUENCES = [np.random.default_rng(length).integers(1, 40, length).astype(np.int32) for length in (3, 8, 13, 16) * 4]
READER = TextReader(Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w0")))
SAME = {**PUBLISHED, "attention_norm": "layernorm", "feed_forward_norm": "layernorm"}


def teacher_of(layers: int = 3, **fields: object) -> Model:
    return tiny.model(layers=layers, scale=0.3, **{**PUBLISHED, **fields})


def logits(model: Model) -> np.ndarray:
    ids = np.stack([sequence for sequence in SEQUENCES if len(sequence) == 16])
    return np.asarray(forward(model.architecture, model.parameters, {"token_ids": ids, "mask": np.ones(ids.shape)}))


@pytest.mark.parametrize("fields", [{}, {"gated": True}, {"relative_buckets": 8}], ids=["bert", "gated", "relative"])
def test_units_that_say_the_same_of_every_text_are_left_out_at_no_loss(fields: dict[str, object]) -> None:
    model = teacher_of(2, **fields)
    attention, feed_forward = (model.parameters[f"encoder.1.{kind}"] for kind in ("attention", "feed_forward"))
    attention["output.weight"][4:8] = 0  # the second head
    for column in (3, *([27] if fields.get("gated") else [])):
        feed_forward["intermediate.weight"][:, column] = 0
        feed_forward["intermediate.bias"][column] = 1.3
    feed_forward["output.weight"][9] = 0
    sizes = (LayerSizes(), LayerSizes(heads=3, intermediate=22))
    parameters = narrowed(model, SEQUENCES, {1: sizes[1]})
    thin = Model(model.architecture.model_copy(update={"sizes": sizes}), parameters)
    assert parameters["encoder.1.feed_forward"]["output.weight"].shape == (22, 16)
    assert np.ptp(logits(model)) > 0.1
    np.testing.assert_allclose(logits(thin), logits(model), atol=1e-4)


def test_what_is_kept_is_what_would_be_missed_most() -> None:
    """By the error that is left at the block's output, over real rows, where each neuron alone is left out."""
    model = teacher_of(1)
    own, seen = model.parameters["encoder.0.feed_forward"], {}
    mask = np.arange(16) < np.array([len(sequence) for sequence in SEQUENCES])[:, None]
    ids = np.zeros(mask.shape, np.int32)
    ids[mask] = np.concatenate(SEQUENCES)
    hidden_states(model.architecture, model.parameters, {"token_ids": ids, "mask": mask}, observe=seen.__setitem__)
    rows = np.asarray(seen["encoder.0.feed_forward/activation_out"])[mask]
    lost = rows.var(axis=0) * np.square(own["output.weight"]).sum(axis=1)
    kept = np.sort(np.argsort(-lost)[:10])
    found = narrowed(model, SEQUENCES, {0: LayerSizes(intermediate=10)})["encoder.0.feed_forward"]
    np.testing.assert_array_equal(found["intermediate.weight"], own["intermediate.weight"][:, kept])
    np.testing.assert_array_equal(found["output.weight"], own["output.weight"][kept])
    left_out = np.setdiff1d(np.arange(24), kept)
    bias = own["output.bias"] + rows.mean(axis=0)[left_out] @ own["output.weight"][left_out]
    np.testing.assert_allclose(found["output.bias"], bias, atol=1e-5)


def test_layers_are_left_out_and_the_others_learn_what_the_next_one_reads() -> None:
    teacher = teacher_of(4)
    recipe = Recipe(name="x", functions=SAME, leave_out=[1, 2], layers={3: {"intermediate": 8}})
    student = make_student(teacher, READER, SEQUENCES, recipe)
    assert student.layers == (0, 3)
    assert student.model.architecture.sizes == (LayerSizes(), LayerSizes(intermediate=8))
    for number, layer in enumerate(student.layers):
        for name, value in student.model.parameters[f"encoder.{number}.attention"].items():
            np.testing.assert_array_equal(value, teacher.parameters[f"encoder.{layer}.attention"][name])
    assert taught_states(student.layers, teacher.architecture) == (0, 3, 4)


def loss_of(teacher: Model, **recipe: object) -> float:
    student = make_student(teacher, READER, SEQUENCES, Recipe(name="x", functions=SAME, **recipe))
    mask = (np.arange(16) < np.array([1, 7, 16])[:, None]).astype(np.float32)
    batch = {"token_ids": np.stack(SEQUENCES[3::4])[:3], "mask": mask, "weight": np.ones(3, np.float32)}
    constants = {"teacher": teacher.parameters, "kept": student.kept}
    loss = hidden_state_loss(student.model.architecture, teacher.architecture, student.layers)
    return float(jax.jit(loss)(student.model.parameters, constants, batch, jax.random.key(0)))


def test_pooled_rows_learn_the_teachers_pooled_likewise() -> None:
    teacher = teacher_of()
    assert loss_of(teacher) == 0
    assert loss_of(teacher, layers={2: {"pool": {"rows": 3}}}) < 1e-10  # after the last layer: no other rows
    assert loss_of(teacher, layers={0: {"pool": {"rows": 2}}}) > 1e-3
    pooled = make_student(
        teacher, READER, SEQUENCES, Recipe(name="x", functions=SAME, layers={0: {"pool": {"rows": 2}}})
    ).model
    assert loss_of(pooled) == 0  # a student is a teacher, whose rows are pooled already
    assert loss_of(pooled, layers={2: {"pool": {"rows": 2}}}) < 1e-10
    with pytest.raises(UserError, match="the teacher's rows are pooled before its layer 2, and the student's are not"):
        loss_of(pooled, leave_out=[0])


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"leave_out": [3]}, "leave_out, layer 3: the teacher's layers are 0 to 2"),
        ({"leave_out": [0, 1, 2]}, "no layer would be left"),
        ({"layers": {1: {"heads": 5}}}, "layer 1, heads: 5, but the teacher has 4"),
        ({"sizes": {"intermediate": 25}}, "layer 0, intermediate: 25, but the teacher has 24"),
    ],
)
def test_a_recipe_that_asks_for_what_is_not_there_is_refused(recipe: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_student(teacher_of(), READER, SEQUENCES, Recipe(name="x", functions=SAME, **recipe))


def test_a_token_classifier_is_not_pooled() -> None:
    teacher = teacher_of(answer="pieces", pooler="none")
    recipe = Recipe(name="x", functions=SAME, sizes={"pool": {"rows": 2}})
    with pytest.raises(UserError, match=r"^recipe x: .*a model that labels word pieces needs a row for each of them$"):
        make_student(teacher, READER, SEQUENCES, recipe)


def test_a_thinner_student_is_made_measured_and_described(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    thinner = "sizes: {intermediate: 16}\nlayers: {0: {pool: {rows: 2}}, 1: {heads: 1}}\n"
    recipe.write_text(RECIPE.replace("epochs: 4", "epochs: 1") + thinner)
    out = tmp_path / "student"
    assert freediv(monkeypatch, "convert", teacher, "--recipe", recipe, "--data", task.train, "-o", out) == 0
    model = read_model(out)
    assert model.architecture.sizes == (
        LayerSizes(intermediate=16, pool=Pool(rows=2)),
        LayerSizes(heads=1, intermediate=16),
    )
    assert model.certificate.headroom_bits is not None
    text = (out / "README.md").read_text()
    assert "after layer 0 each 2 neighbouring rows become one" in text
    assert "`encoder.0.pooling`" in text
    assert read_card(out)["accuracy"]
