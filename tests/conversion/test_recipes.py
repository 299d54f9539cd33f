"""Every shipped recipe trains, and trains what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from freediv.conversion.cards.card import read_card
from freediv.conversion.converting import _calibrate
from freediv.conversion.measures.bounds import stage_bounds, within_the_ring
from freediv.conversion.measures.headroom import measure_headroom
from freediv.conversion.run_directory import RunDirectory
from freediv.conversion.student.calibration import calibrate
from freediv.conversion.student.distillation import distil, replaced_so_far, with_roots
from freediv.conversion.student.recipe import ProgressiveRecipe, Recipe, RefitRecipe, read_recipe
from freediv.conversion.student.replacement import Student, make_student
from freediv.conversion.texts.batches import plan_batches
from freediv.conversion.training.epochs import Mixture, draw_epochs
from freediv.conversion.training.guide import reads_pieces
from freediv.conversion.training.phase import Trained
from freediv.conversion.training.steps import Programs
from freediv.errors import UserError
from freediv.model import (
    LayerFunctions,
    Model,
    encode,
    hidden_states,
    read_model,
    read_tokenizer,
    write_model,
)
from freediv.model.reading.texts import TextReader
from freediv.owners.model_owner import prepare_offer
from freediv.yaml_file import read_yaml
from tiny import PUBLISHED

from .conftest import Task, freediv, make_sentences, make_tokenizer, write_tsv

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "recipes").glob("*.yaml"))
TOKENIZER = make_tokenizer()
TEXTS = [" ".join((text.split() * 8)[:8]) for text in make_sentences(64, seed=4)[0]]  # of one length: one shape
SEQUENCES = encode(TOKENIZER, TEXTS, 32, TOKENIZER.get_vocab_size())


def make_teacher(layers: int = 1, **sizes: int) -> Model:
    sizes = {"heads": 2, "intermediate": 16} | sizes
    return tiny.model(layers=layers, scale=0.3, vocabulary=TOKENIZER.get_vocab_size(), **sizes, **PUBLISHED)


def teacher_of(recipe: Recipe) -> Model:
    """With the layers that a recipe names, and as many heads and neurons as MiniLM where it leaves some out."""
    sizes = {"hidden": 24, "heads": 12, "intermediate": 1536}
    narrower = any(own.heads or own.intermediate for own in recipe.layers.values())
    return make_teacher(1 + max(recipe.layers, default=0), **sizes if narrower else {})


def small(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe for a few steps on a tiny model: a copy with other sizes, and the same choices."""
    settings = recipe.model_dump(exclude_none=True)
    for stage in ("hidden", "norms", "logits", "progressive"):
        if settings.get(stage, {}).get("epochs"):
            settings[stage] |= {"epochs": 2, "pieces": None}
    if recipe.refit is not None:
        settings["refit"] |= {"pieces": 640, "trained": min(1280, recipe.refit.trained)}
    settings["embedding"] |= {"vocabulary": None, "rank": 12}
    settings["data"] |= {"long_share": 0, "longest": 32, "tokens_per_batch": 160, "shapes": 1}
    return Recipe(**{**settings, "positions": 32, "calibration_rows": 32, **changes})


def trained(recipe: Recipe, run: Path, teacher: Model) -> tuple[Student, Model, dict[str, Trained]]:
    student = make_student(teacher, TextReader(TOKENIZER), SEQUENCES, recipe)
    own = encode(student.reader.tokenizer, TEXTS, 32, student.reader.tokenizer.get_vocab_size())
    plan = plan_batches([len(one) for one in own], tokens_per_batch=160)
    student = replace(student, model=calibrate(student, teacher, own, plan, recipe.fit_activation))
    begun = student if recipe.refit is None else replace(student, model=_calibrate(student, teacher, own, recipe))
    guide = reads_pieces(teacher, student.kept)
    with RunDirectory(run, {}) as directory:
        return student, *distil(begun, teacher, guide, own, recipe, directory, Programs())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_trains(path: Path, tmp_path: Path) -> None:
    recipe = small(read_recipe(path))
    teacher = teacher_of(recipe)
    assert recipe.name == path.stem
    assert recipe.bounded(teacher.architecture)
    rootless = not recipe.model_copy(update={"row_limits": False}).bounded(teacher.architecture)
    assert rootless == ("roots" in path.stem)
    if not rootless:  # the last stage is the same for all others, and tested elsewhere
        recipe = small(recipe, logits={"epochs": 0, "learning_rate": 1e-3})
    fits = recipe.refit is not None and recipe.refit.trained > 0
    student, model, done = trained(recipe, tmp_path, teacher)
    assert list(done) == (["hidden", "norms", "logits"] if rootless else [] if fits else ["hidden"])
    assert all(np.isfinite(phase.losses).all() for phase in done.values())
    if not fits:  # the last stage's noise is more than what it learns of so little
        assert done["hidden"].losses[1] < done["hidden"].losses[0]
    for stage, own in model.parameters.items():  # every constant is trained, with the whole or with its block
        for name, value in own.items():
            if "constants." in name or name == "norm.log_g":
                assert not np.array_equal(value, student.model.parameters[stage][name]), (stage, name)
    if rootless:  # g is no longer where it began
        assert np.isfinite(measure_headroom(model, SEQUENCES[:8]).bits)
        logs = [float(np.abs(own["norm.log_g"]).max()) for own in model.parameters.values() if "norm.log_g" in own]
        layers = model.architecture.layers
        assert len(logs) == (layers if "half" in path.stem else 2 * layers + 1) and max(logs) > 0.1


def test_a_teacher_whose_blocks_normalise_what_they_read_has_a_student_of_its_kind(tmp_path: Path) -> None:
    """As ModernBERT: angles, a window, gates, no biases, and no norm before the first attention."""
    parts = {
        "norm_first": True,
        "final_norm": "layernorm",
        "absolute_positions": False,
        "token_types": 0,
        "rotary": {"theta": 100.0},
        "window": {"reach": 4, "every": 2},
        "gated": True,
        "pooling": "mean",
        "without_bias": ("attention", "feed_forward", "norm"),
        "pooler": "gelu",
        "pooler_norm": "layernorm",
    }
    teacher = tiny.model(layers=2, scale=0.3, vocabulary=TOKENIZER.get_vocab_size(), heads=2, **parts, **PUBLISHED)
    first, second = teacher.architecture.functions
    functions = (first.model_copy(update={"attention_norm": "none"}), second)
    attention = teacher.parameters["encoder.0.attention"]
    own = {"encoder.0.attention": {name: value for name, value in attention.items() if "norm" not in name}}
    teacher = Model(teacher.architecture.model_copy(update={"functions": functions}), teacher.parameters | own)
    recipe = small(read_recipe(RECIPES[0].with_stem("softmax-freediv")))
    student, model, done = trained(recipe, tmp_path, teacher)
    chosen = model.architecture
    assert [one.attention_norm for one in chosen.functions] == ["none", "layernorm"]
    assert (chosen.pooler, chosen.pooler_norm, chosen.final_norm) == ("none", "none", "layernorm")
    assert not any(name.endswith("qkv.bias") for stage in model.parameters.values() for name in stage)
    assert done["hidden"].losses[1] < 0.8 * done["hidden"].losses[0]
    for layer in range(2):  # per head, of those whom a place sees, and with the window's own count
        seen: dict[str, np.ndarray] = {}
        ids = np.array([SEQUENCES[0]])
        inputs = {"token_ids": ids, "mask": np.ones(ids.shape)}
        hidden_states(chosen, student.model.parameters, inputs, observe=seen.__setitem__)
        weights = seen[f"encoder.{layer}.attention/weights"]
        sees = min(ids.shape[1], 9) if layer else ids.shape[1]
        assert 0.2 < float(np.mean(weights.sum(-1))) / sees < 5
    assert measure_headroom(model, SEQUENCES[:8]).bits > 0
    assert recipe.bounded(teacher.architecture)
    assert not small(read_recipe(RECIPES[0].with_stem("2quad-freediv-no-roots"))).bounded(teacher.architecture)


def test_constants_that_are_not_to_be_trained_stay_and_layers_are_replaced_one_by_one(tmp_path: Path) -> None:
    recipe = small(
        Recipe(name="x", functions=LayerFunctions(attention="2quad-freediv", activation="quad")),
        constants={"k": 0, "c": 0, "quadratic": 0},
        progressive={"order": "down", "epochs": 1, "learning_rate": 1e-3},
        hidden={"epochs": 0, "learning_rate": 1e-3},
        logits={"epochs": 0, "learning_rate": 1e-3},
    )
    student, model, done = trained(recipe, tmp_path, make_teacher(2))
    assert list(done) == ["progressive-1"]
    before = student.model.parameters
    for stage, own in model.parameters.items():
        for name, value in own.items():
            if "constants." in name:
                np.testing.assert_array_equal(value, before[stage][name])
    weight = "output.weight"
    assert not np.array_equal(model.parameters["encoder.1.attention"][weight], before["encoder.1.attention"][weight])


def test_progressive_replacement_goes_up_or_down_and_never_replaces_all() -> None:
    own = LayerFunctions(attention="2quad-freediv", activation="quad", attention_norm="layernorm-constant")
    teacher = make_teacher(5).architecture
    student = with_roots(teacher.model_copy(update={"functions": (own,) * 5}))
    assert {f.attention_norm for f in student.functions} == {"layernorm"}

    def replaced(**recipe: object) -> list[str]:
        found = replaced_so_far(student, teacher, range(5), ProgressiveRecipe(learning_rate=1, **recipe))
        return ["".join("s" if f.attention == "softmax" else "q" for f in one.functions) for one in found]

    assert replaced() == ["qssss", "qqsss", "qqqss", "qqqqs"]
    assert replaced(order="down", layers_at_once=2) == ["sssqq", "sqqqq"]


def convert_without_roots(task: Task, directory: Path, **changes: object) -> tuple[object, ...]:
    """The command that makes `student` from `teacher` and `train.tsv`, all in a directory, by the cheapest recipe."""
    teacher, recipe = directory / "teacher", directory / "recipe.yaml"
    write_model(make_teacher(), teacher, tokenizer=task.pretrained)
    data = write_tsv(directory / "train.tsv", TEXTS, [0, 1] * 32)
    [path] = [path for path in RECIPES if path.stem == "2quad-freediv-no-roots"]
    settings = small(read_yaml(path, Recipe), **changes)
    recipe.write_text(json.dumps(settings.model_dump(mode="json", exclude_none=True)))
    return ("convert", teacher, "--recipe", recipe, "--data", data, "-o", directory / "student")


def test_a_student_that_nothing_bounds_is_written_and_served_only_when_asked_for_by_name(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = convert_without_roots(task, tmp_path, row_limits=False)
    student = tmp_path / "student"
    assert freediv(monkeypatch, *command) == 2
    assert "bounds nothing" in capsys.readouterr().err and not student.exists()
    assert freediv(monkeypatch, *command, "--allow-overflow") == 0
    assert "nothing bounds them" in (student / "README.md").read_text()
    assert not read_model(student).architecture.bounded
    with pytest.raises(UserError, match="a norm without a root bounds nothing"):
        prepare_offer(student)
    assert prepare_offer(student, without_headroom=True).parameters


def test_a_student_without_roots_has_limits_within_which_nothing_leaves_the_ring(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = convert_without_roots(task, tmp_path)
    teacher, data, student = (tmp_path / name for name in ("teacher", "train.tsv", "student"))
    assert freediv(monkeypatch, *command) == 0
    assert "within them no value can leave the ring" in capsys.readouterr().err
    card = (student / "README.md").read_text()
    assert "Norms have constants for roots, and rows limits" in card and "nothing bounds them" not in card
    assert prepare_offer(student).parameters["classifier"]["limits"].shape == (3,)
    model = read_model(student)
    assert model.architecture.row_limits and all(map(within_the_ring, stage_bounds(model).values()))
    assert freediv(monkeypatch, "evaluate", student, "--data", data) == 0
    assert "without an answer" not in capsys.readouterr().out

    # Limits that half of the texts exceed: the command says of how many nothing is said, and whom it counts.
    longest = np.exp(np.median(largest_rows(model, TEXTS), axis=0))
    classifier = model.parameters["classifier"] | {"limits": longest.astype(np.float32)}
    tight = replace(model, parameters=model.parameters | {"classifier": classifier})
    write_model(tight, tmp_path / "tight", tokenizer=student)
    assert freediv(monkeypatch, "evaluate", tmp_path / "tight", "--data", data, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["without_answer"] < 64 and found["correct"] <= 64 - found["without_answer"]
    assert freediv(monkeypatch, "evaluate", tmp_path / "tight", "--data", data, "--against", teacher, "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["without_answer"] == found["without_answer"] and np.isfinite(compared["divergence"])
    assert freediv(monkeypatch, "headroom", tmp_path / "tight", "--data", data, "--text-column", "sentence") == 0
    assert f"in the {64 - found['without_answer']} that get an answer" in capsys.readouterr().out


def largest_rows(model: Model, texts: Sequence[str]) -> np.ndarray:
    """By text and norm, the logarithm of the largest mean square of a row where the norm leaves it."""
    assert model.directory is not None
    found = []
    for sequence in encode(
        read_tokenizer(model.directory),
        texts,
        model.architecture.positions,
        read_tokenizer(model.directory).get_vocab_size(),
    ):
        seen: dict[str, np.ndarray] = {}
        inputs = {"token_ids": sequence[None], "mask": np.ones((1, len(sequence)), np.float32)}
        hidden_states(model.architecture, model.parameters, inputs, observe=seen.__setitem__)
        found.append([np.max(value) for name, value in seen.items() if name.endswith("log_variance_g2")])
    return np.array(found)


def test_few_rows_are_gone_through_as_often_as_an_epoch_asks_for() -> None:
    pieces = 5 * sum(map(len, SEQUENCES)) // 2
    mixture = Mixture(pieces, long_share=0.0, longest=32, tokens_per_batch=160, shapes=1)
    seen = [group[0] for rows in draw_epochs(SEQUENCES, None, 2, mixture, (0, 1)) for group in rows.groups]
    assert sorted(np.bincount(seen)) == [5] * len(SEQUENCES)


def test_an_epoch_is_as_many_steps_whatever_the_length_of_rows() -> None:
    mixture = Mixture(20_000, long_share=0.0, longest=128, tokens_per_batch=512, shapes=4)
    random = np.random.default_rng(0)
    for mean in (8, 32, 100):
        sequences = [np.zeros(length, np.int32) for length in random.integers(mean - 4, mean + 5, size=6000)]
        first, second = draw_epochs(sequences, None, 2, mixture, (0,))
        pieces = [sum(map(len, rows.epoch.sequences)) for rows in (first, second)]
        assert np.abs(np.array(pieces) - 20_000).max() <= mean + 4
        assert 39 <= len(first.epoch.plan) <= 52  # 20,000 / 512, and what padding takes
        seen = [group[0] for rows in (first, second) for group in rows.groups]
        assert len(set(seen)) == len(seen)


def test_a_recipe_that_counts_rows_is_told_what_to_write(tmp_path: Path) -> None:
    text = RECIPES[0].with_stem("2quad-freediv").read_text()
    (tmp_path / "old.yaml").write_text(text.replace("pieces: 320000", "rows: 24000"))
    with pytest.raises(
        UserError, match=r"old.yaml, line \d+, hidden: an epoch is .* write `pieces` in place of `rows`"
    ):
        read_recipe(tmp_path / "old.yaml")
    (tmp_path / "norms.yaml").write_text(text + "norms: {learning_rate: 1.0e-4, patience: 1}\n")
    with pytest.raises(UserError, match=r"norms\.patience: Input should be 0"):
        read_recipe(tmp_path / "norms.yaml")


Convert = Callable[..., int]


@pytest.fixture
def convert(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Convert:
    """`freediv convert` of a small teacher by a recipe that trains next to nothing; to a directory of this name."""
    write_model(make_teacher(), tmp_path / "teacher", tokenizer=task.pretrained)
    data = write_tsv(tmp_path / "train.tsv", TEXTS, [0, 1] * 32)

    def converted(recipe: str, out: str, *arguments: object, **changes: object) -> int:
        [path] = [path for path in RECIPES if path.stem == recipe]
        file = tmp_path / f"{recipe}.yaml"
        settings = small(read_yaml(path, Recipe), norms={"epochs": 1, "learning_rate": 1e-9}, **changes).model_dump(
            mode="json"
        )
        settings["logits"]["epochs"] = 0
        file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
        command = ("convert", tmp_path / "teacher", "--recipe", file, "--data", data, "-o", tmp_path / out)
        return freediv(monkeypatch, *command, "--allow-overflow", *arguments)

    return converted


def test_a_student_goes_on_from_another_and_loses_its_roots(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert("2quad-freediv", "rooted") == 0
    assert convert("2quad-freediv-no-roots", "rootless", "--start", tmp_path / "rooted") == 0
    rooted, rootless = (read_model(tmp_path / name) for name in ("rooted", "rootless"))
    assert rootless.architecture.row_limits and not rooted.architecture.row_limits
    for stage, own in rooted.parameters.items():  # at such a learning rate what it had is what it has
        for name, value in own.items():
            np.testing.assert_allclose(rootless.parameters[stage][name], value, atol=1e-2)
    card = (tmp_path / "rootless" / "README.md").read_text()
    assert read_card(tmp_path / "rootless")["start"] == "rooted"
    assert "| norms |" in card and "| hidden |" not in card
    assert freediv(monkeypatch, "results", tmp_path / "rootless", "--markdown") == 0
    assert "after rooted" in capsys.readouterr().out
    assert convert("2quad-freediv-no-roots", "longer", "--start", tmp_path / "rootless") == 0  # limits or not
    assert convert("relu-freediv", "other", "--start", tmp_path / "rooted") == 2
    assert "differs from this recipe's student" in capsys.readouterr().err


def test_a_student_that_goes_on_from_another_has_the_published_table_and_not_what_a_file_made_of_it(
    convert: Convert, tmp_path: Path
) -> None:
    published = ("--published", tmp_path / "teacher")
    assert convert("2quad-freediv", "rooted", *published) == 0
    start = ("--start", tmp_path / "rooted")
    assert convert("2quad-freediv-no-roots", "rootless", *published, *start, weights="float16") == 0
    table = read_model(tmp_path / "teacher").parameters["embedding"]["word"].astype(np.float16)
    rooted, rootless = (read_model(tmp_path / name).public_table for name in ("rooted", "rootless"))
    assert rooted is not None and not np.array_equal(rooted, table)  # in 8 bits
    assert rootless is not None and np.array_equal(rootless, table)


def test_a_recipe_for_another_device_trains_longer_in_larger_batches_at_higher_rates() -> None:
    recipe = read_recipe(RECIPES[0].with_stem("2quad-freediv"))
    recipe = recipe.model_copy(update={"refit": RefitRecipe(trained=4000, epochs=2)})
    same = recipe.scaled(1.0, None)
    assert same == recipe
    scaled = recipe.scaled(2.5, 4 * recipe.data.tokens_per_batch)
    assert scaled.data.tokens_per_batch == 4 * recipe.data.tokens_per_batch
    for before, after in ((recipe.hidden, scaled.hidden), (recipe.norms, scaled.norms), (recipe.logits, scaled.logits)):
        assert after.epochs == round(2.5 * before.epochs)
        assert after.learning_rate == pytest.approx(2 * before.learning_rate)
    assert scaled.refit == RefitRecipe(trained=4000, epochs=5, learning_rate=2 * RefitRecipe().learning_rate)
    assert recipe.scaled(0.01, None).hidden.epochs == 1
    left_out = recipe.model_copy(update={"hidden": recipe.hidden.model_copy(update={"epochs": 0})})
    assert left_out.scaled(3.0, None).hidden.epochs == 0
