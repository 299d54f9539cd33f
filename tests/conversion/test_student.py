"""The student before training: replacement, calibration, headroom."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.measures.headroom import headroom_of, measure_headroom
from freediv.conversion.measures.predictions import logits_of
from freediv.conversion.student.calibration import calibrate
from freediv.conversion.student.recipe import Recipe, read_recipe
from freediv.conversion.student.replacement import Student, factorise, make_student
from freediv.conversion.texts.batches import plan_batches
from freediv.conversion.texts.examples import read_examples
from freediv.errors import UserError
from freediv.model import Model, encode, hidden_states, read_model, read_tokenizer
from freediv.model.reading.texts import TextReader
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from .conftest import Task

SAME = {"attention": "softmax", "activation": "gelu"}


def sequences_of(task: Task, directory: Path) -> list[np.ndarray]:
    """A hundred, of the four commonest lengths: what the teacher computes step by step is compiled for each length."""
    tokenizer = read_tokenizer(directory)
    found = encode(tokenizer, read_examples(task.train).texts, 48, tokenizer.get_vocab_size())
    common = [length for length, _ in Counter(map(len, found)).most_common(4)]
    return [sequence for sequence in found if len(sequence) in common][:100]


def student_of(task: Task, teacher: Path, **recipe: object) -> tuple[Model, Student, list[np.ndarray]]:
    model = read_model(teacher)
    sequences = sequences_of(task, teacher)
    return (
        model,
        make_student(model, TextReader(read_tokenizer(teacher)), sequences, Recipe(name="test", **recipe)),
        sequences,
    )


def calibrated(task: Task, teacher: Path, **recipe: object) -> tuple[Model, Model, Student, list[np.ndarray]]:
    model, student, sequences = student_of(task, teacher, **recipe)
    plan = plan_batches([len(sequence) for sequence in sequences], tokens_per_batch=128)
    return model, calibrate(student, model, sequences, plan, fit=True), student, sequences


def test_a_student_with_nothing_replaced_is_its_teacher(task: Task, teacher: Path) -> None:
    model, student, _ = student_of(task, teacher, functions=SAME, pooler="tanh", embedding={"vocabulary": 168})
    text = "the film was delightful"
    own = encode(student.reader.tokenizer, [text], 48, student.reader.tokenizer.get_vocab_size())
    wanted = logits_of(model, encode(read_tokenizer(teacher), [text], 48, read_tokenizer(teacher).get_vocab_size()))
    assert (
        student.kept[own[0]].tolist()
        == encode(read_tokenizer(teacher), [text], 48, read_tokenizer(teacher).get_vocab_size())[0].tolist()
    )
    np.testing.assert_allclose(logits_of(student.model, own), wanted, atol=1e-5)


def test_a_published_table_stays_whole_and_public(task: Task, teacher: Path) -> None:
    model = read_model(teacher)
    published = np.random.default_rng(0).normal(size=model.parameters["embedding"]["word"].shape).astype(np.float32)
    recipe = Recipe(name="test", functions=SAME, embedding={"vocabulary": 160, "rank": 12})
    student = make_student(model, TextReader(read_tokenizer(teacher)), sequences_of(task, teacher), recipe, published)
    assert student.model.architecture.embedding == "public"
    np.testing.assert_array_equal(student.model.parameters["embedding"]["word"], published)
    np.testing.assert_array_equal(student.kept, np.arange(len(published)))


@given(rank=st.integers(1, 8), seed=st.integers(0, 50))
@settings(deadline=None)
def test_a_factorised_table_is_as_close_as_the_singular_values_allow(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table, weights = rng.normal(size=(20, 8)).astype(np.float32), rng.uniform(0.1, 5, 20)
    word, projection = factorise(table, rank, weights)
    error = (weights[:, None] * (word @ projection - table) ** 2).sum()
    singular = np.linalg.svd(np.sqrt(weights)[:, None] * table, compute_uv=False)
    assert error == pytest.approx((singular[rank:] ** 2).sum(), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("attention", ["2quad-freediv", "softmax-freediv", "relu-freediv"])
def test_after_calibration_attention_weights_sum_to_one_on_average(task: Task, teacher: Path, attention: str) -> None:
    model, student, _, sequences = calibrated(task, teacher, functions={"attention": attention, "activation": "gelu"})
    architecture = model.architecture
    sums = [[] for _ in range(architecture.layers)]
    for sequence in sequences:
        inputs = {"token_ids": sequence[None], "mask": np.ones((1, len(sequence)), np.float32)}
        hidden, _ = hidden_states(architecture, model.parameters, inputs)
        for layer in range(architecture.layers):
            own = student.parameters[f"encoder.{layer}.attention"]
            query, key, _ = np.split(np.asarray(hidden[layer][0]) @ own["qkv.weight"] + own["qkv.bias"], 3, axis=-1)
            heads = [x.reshape(len(sequence), architecture.heads, -1).transpose(1, 0, 2) for x in (query, key)]
            scores = heads[0] @ heads[1].transpose(0, 2, 1) / np.sqrt(architecture.head_size)
            k = np.exp(own["constants.log_k"])[:, None, None]
            weights = {
                "2quad-freediv": lambda s, k=k: k * (s + 5) ** 2,
                "softmax-freediv": lambda s, k=k: (1 + (s + np.log(k)) / 32) ** 32,
                "relu-freediv": lambda s, k=k: k * np.maximum(s, 0),
            }[attention](scores)
            sums[layer].append(weights.mean(axis=-1))
    for layer in sums:
        rows = np.concatenate(layer, axis=1)
        middle = np.exp(np.log(rows).mean(axis=1)) if attention == "softmax-freediv" else rows.mean(axis=1)
        # softmax-freediv's factor is only nearly k: (1 + (s + ln k) / 32)^32.
        np.testing.assert_allclose(middle, 1, rtol=0.15 if attention == "softmax-freediv" else 1e-3)


def test_a_fitted_quadratic_is_closer_to_gelu_than_the_textbooks(task: Task, teacher: Path) -> None:
    model, student, _, sequences = calibrated(task, teacher, functions={"attention": "softmax", "activation": "quad"})
    seen: dict[str, list[np.ndarray]] = {}
    for sequence in sequences:
        inputs = {"token_ids": sequence[None], "mask": np.ones((1, len(sequence)), np.float32)}
        hidden_states(
            model.architecture,
            model.parameters,
            inputs,
            observe=lambda name, value: seen.setdefault(name, []).append(np.asarray(value).ravel()),
        )
    for layer in range(model.architecture.layers):
        x = np.concatenate(seen[f"encoder.{layer}.feed_forward/activation_in"])
        gelu = x * (1 + erf(x / np.sqrt(2))) / 2
        own = student.parameters[f"encoder.{layer}.feed_forward"]
        fitted = [float(own[f"constants.{name}"]) for name in "abc"]
        np.testing.assert_allclose(fitted, np.polyfit(x, gelu, 2), rtol=1e-2, atol=1e-3)
        errors = [np.square(np.polyval(c, x) - gelu).mean() for c in (fitted, (0.125, 0.25, 0.5))]
        assert errors[0] < errors[1]


def test_another_pooler_starts_from_a_classifier_fitted_to_the_teacher(task: Task, teacher: Path) -> None:
    model, student, before, sequences = calibrated(task, teacher, functions=SAME, pooler="none")
    wanted = logits_of(model, sequences)

    def error(found: Model) -> float:
        return float(np.square(logits_of(found, sequences) - wanted).mean())

    assert error(student) < 0.2 * error(before.model)
    assert error(student) < 0.1 * float(wanted.var())


def test_headroom_is_what_36_fraction_bits_a_sign_and_two_bits_to_spare_leave_of_a_64_bit_ring(
    task: Task, teacher: Path
) -> None:
    assert headroom_of({"a": 2.0**20, "b": -0.0}).bits == 5
    assert headroom_of({"a": 2.0**30}).bits == -5
    assert headroom_of({"a": math.inf}).bits == -103
    _, student, _, sequences = calibrated(task, teacher, functions={"attention": "2quad-freediv", "activation": "quad"})
    parameters = {stage: dict(own) for stage, own in student.parameters.items()}
    own = parameters["encoder.1.feed_forward"]
    normal = measure_headroom(student, sequences)
    # What is 2^12 times as large after the square is 2^24 times as large where the norm behind it squares it again.
    own["constants.a"] = own["constants.a"] * 64.0**4
    large = measure_headroom(replace(student, parameters=parameters), sequences)
    own["constants.a"] = own["constants.a"] * 64.0**2
    larger = measure_headroom(replace(student, parameters=parameters), sequences)
    assert normal.bits > large.bits > larger.bits
    assert large.bits - larger.bits == pytest.approx(24, abs=0.1)
    assert larger.largest["encoder.0.attention"] == pytest.approx(normal.largest["encoder.0.attention"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seeds: 3", "seeds: there is no such key"),
        ("functions: {attention: 3quad}", r"functions: there is no attention '3quad'"),
        ("hidden: {learning_rat: 1}", r"hidden\.learning_rat: there is no such key"),
        ("progressive: {order: sideways, learning_rate: 1}", r"progressive\.order"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_with_its_path(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: x\n" + ("" if "functions" in change else "functions: {}\n") + change)
    with pytest.raises(UserError, match=message):
        read_recipe(path)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"layers": {7: {"attention": "2quad"}}}, r"layers\.7: the teacher's layers are 0 to 1"),
        ({"positions": 64}, "positions: 64, but the teacher has 48"),
        ({"embedding": {"rank": 99}}, r"embedding\.rank: 99, but the teacher's table is 16 wide"),
    ],
)
def test_a_recipe_that_asks_for_more_than_the_teacher_has_is_refused(
    task: Task, teacher: Path, recipe: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        student_of(task, teacher, functions=SAME, **recipe)
