"""Images: labelled by folders or tables, a teacher and a student of them, and what neither reads."""

from __future__ import annotations

import json
import os
import shutil
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.cards.card import own_accuracy, read_card
from freediv.conversion.measures.predicting import predict
from freediv.conversion.texts.examples import read_examples
from freediv.conversion.texts.holding_out import hold_out
from freediv.errors import UserError
from freediv.model import Model, hidden_states, initial_parameters, read_model, write_model
from freediv.model.functions.patches import Patches
from freediv.owners.model_owner import prepare_offer
from PIL import Image

from .conftest import freediv

FAMILIES = Path(__file__).parents[1] / "model" / "families"
CLASSES = ("across", "cross", "down")
RECIPE = """\
name: images
functions: {attention: 2quad-freediv, activation: quad}
positions: 128
data: {hold_out: 0.1, tokens_per_batch: 85, long_share: 0.15}
calibration_rows: 64
hidden: {epochs: 6, learning_rate: 3.0e-3, warmup_steps: 10}
logits: {epochs: 6, learning_rate: 2.0e-3, warmup_steps: 10, noise: 0.15}
weights: int8
"""


def picture(label: str, rng: np.random.Generator) -> Image.Image:
    """A bright bar across, down, or both, somewhere in noise: 8 x 8 pixels."""
    pixels = rng.integers(0, 90, (8, 8))
    row, column = rng.integers(1, 7, 2)
    if label != "down":
        pixels[row] = 230
    if label != "across":
        pixels[:, column] = 230
    return Image.fromarray(pixels.astype(np.uint8))


def by_class(directory: Path, count: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for label in CLASSES:
        (directory / label).mkdir(parents=True)
        for number in range(count):
            picture(label, rng).save(directory / label / f"{number:03}.png")
    return directory


def as_table(directory: Path) -> Path:
    """The same, named by a table beside."""
    lines = [f"{path.relative_to(directory.parent)},{path.parent.name}" for path in sorted(directory.rglob("*.png"))]
    table = directory.parent / f"{directory.name}.csv"
    table.write_text("\n".join(["image,label", *lines]) + "\n", encoding="utf-8")
    return table


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT of random weights that reads 8 x 8 pixels in four patches."""
    directory = tmp_path_factory.mktemp("vit") / "model"
    source = read_model(FAMILIES / "vit-classifier")
    patches = Patches(height=8, width=8, patch_height=4, patch_width=4)
    sizes = {"patches": patches, "positions": patches.rows, "embedding_size": patches.row_size, "layers": 2}
    architecture = source.architecture.model_copy(update={**sizes, "functions": source.architecture.functions[:2]})
    write_model(Model(architecture, initial_parameters(architecture, 1, 0.15)), directory)
    processor = json.loads((FAMILIES / "vit-classifier" / "preprocessor_config.json").read_text(encoding="utf-8"))
    processor["size"] = {"height": 8, "width": 8}
    (directory / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return directory


def test_a_teacher_and_a_student_learn_from_folders_and_tables(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, dev = by_class(tmp_path / "train", 150, 1), as_table(by_class(tmp_path / "dev", 50, 2))
    teacher, student, recipe = tmp_path / "teacher", tmp_path / "student", tmp_path / "recipe.yaml"
    data = ("--data", train, "--dev", dev)
    rates = ("--epochs", 12, "--learning-rate", 2e-3, "--tokens-per-batch", 85, "--dropout", 0, "--hold-out", 0.1)
    assert freediv(monkeypatch, "finetune", pretrained, *data, *rates, "-o", teacher) == 0
    recipe.write_text(RECIPE)
    assert freediv(monkeypatch, "convert", teacher, "--recipe", recipe, *data, "-o", student) == 0
    assert read_model(teacher).architecture.label_names == CLASSES
    own = read_model(student)
    assert own.architecture.bounded and own.certificate.length == own.architecture.positions == 5
    assert own.certificate.headroom_bits is not None and own.certificate.headroom_bits > 1
    accuracies = [own_accuracy(read_card(model)).value for model in (teacher, student)]
    assert accuracies[0] > 0.9 and accuracies[1] > accuracies[0] - 0.06
    card = (student / "README.md").read_text(encoding="utf-8")
    assert "It reads images of 8 x 8 pixels" in card and "pipeline_tag: image-classification" in card
    assert "no image exceeds" in card and "random pixels" in card
    capsys.readouterr()
    assert freediv(monkeypatch, "evaluate", student, "--data", dev, "--against", teacher, "--json") == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(accuracies[1])
    assert freediv(monkeypatch, "headroom", student, "--data", train, "--json") == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["count"] == 450 and found["headroom_bits"] >= own.certificate.headroom_bits


def test_images_are_read_from_folders_and_from_tables_alike(tmp_path: Path) -> None:
    folder = by_class(tmp_path / "own", 3, 0)
    (folder / "down" / "deeper").mkdir()
    shutil.move(folder / "down" / "002.png", folder / "down" / "deeper" / "002.png")
    found = read_examples(folder)
    assert found.label_names == CLASSES
    assert found.labels is not None and found.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    table = as_table(by_class(tmp_path / "other", 3, 0))
    listed = read_examples(table, image_column="image", label_names=CLASSES)
    assert listed.labels is not None and listed.labels.tolist() == found.labels.tolist()
    before = found.content
    assert listed.content == before  # what they show, wherever they lie
    picture("down", np.random.default_rng(9)).save(folder / "down" / "000.png")
    assert read_examples(folder).content != before
    assert read_examples(folder).digest != found.digest


def test_equal_images_are_held_out_together(tmp_path: Path) -> None:
    folder = by_class(tmp_path / "own", 10, 0)
    for path in folder.rglob("*.png"):
        shutil.copy(path, path.with_name(f"again-{path.name}"))
    kept, held_out = hold_out(read_examples(folder), 0.3)
    assert 0 < len(held_out) < len(kept)
    names = {one.name.removeprefix("again-") + one.parent.name for one in held_out.texts if isinstance(one, Path)}
    assert len(names) == len(held_out) // 2


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("picture,label\na.png,x\n", "line 2: there is no column 'image'"),
        ("image,label\n,x\nb.png,y\n", "line 2: column 'image' names no file"),
        ("image,label\na.png,\nb.png,y\n", "line 2: the label is missing"),
    ],
)
def test_tables_are_refused_with_the_line(tmp_path: Path, rows: str, told: str) -> None:
    (tmp_path / "data.csv").write_text(rows, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_examples(tmp_path / "data.csv", image_column="image")


def test_what_does_not_fit_is_refused_by_one_line(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object) -> str:
        capsys.readouterr()
        assert freediv(monkeypatch, *words) == 2
        found = capsys.readouterr().err
        assert found.count("\n") == 1
        return found

    folder, recipe = by_class(tmp_path / "own", 3, 0), tmp_path / "recipe.yaml"
    model = read_model(pretrained)
    named = model.architecture.model_copy(update={"label_names": CLASSES})
    write_model(replace(model, architecture=named), tmp_path / "teacher")
    recipe.write_text(RECIPE + "embedding: {rank: 8}\n")
    out = ("-o", tmp_path / "out")
    assert "recipe images, embedding: the teacher reads images, which have no word table" in refused(
        "convert", tmp_path / "teacher", "--recipe", recipe, "--data", folder, *out
    )
    bert = FAMILIES / "bert-classifier"
    assert "number 1 is an image, and the model reads texts" in refused("finetune", bert, "--data", folder, *out)
    (tmp_path / "texts.tsv").write_text("sentence\tlabel\na film\tx\na plot\ty\n")
    assert "no column 'image'" in refused("finetune", pretrained, "--data", tmp_path / "texts.tsv", *out)
    picture("down", np.random.default_rng(0)).save(folder / "alone.png")
    assert "alone.png: is in no folder that names its class" in refused("finetune", pretrained, "--data", folder, *out)
    assert "--length: the model reads images" in refused("headroom", pretrained, "--data", folder, "--length", 5)


def test_letters_are_made_by_a_seed_and_a_fresh_model_reads_them(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "configs" / "recipes" / "glyphs.py"
    for name in ("one", "other"):
        command = [sys.executable, str(script), str(tmp_path / name), "--count", "2", "--fresh", str(tmp_path / "vit")]
        subprocess.run(command, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    one, other = (read_examples(tmp_path / name) for name in ("one", "other"))
    assert one.label_names == tuple(string.ascii_uppercase) and len(one) == 52
    assert one.content == other.content
    found = predict(read_model(tmp_path / "vit"), one.texts[:2])
    assert all(np.isfinite(each.outputs).all() and len(each.outputs) == 26 for each in found)


def test_dropped_tokens_are_those_that_the_class_token_sees_least_of_and_stay_out_of_mpc(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, teacher = by_class(tmp_path / "train", 40, 1), tmp_path / "teacher"
    rates = ("--epochs", 1, "--tokens-per-batch", 85, "--dropout", 0, "--hold-out", 0.1)
    dropping = ("--drop-tokens", "0", "--keep-tokens", 0.6)
    assert freediv(monkeypatch, "finetune", pretrained, "--data", train, *rates, *dropping, "-o", teacher) == 0
    model = read_model(teacher)
    assert "after attention in layer 0 the 60 % of patches that it weighs most stay" in (
        teacher / "README.md"
    ).read_text(encoding="utf-8")
    rows = np.random.default_rng(0).normal(size=(3, 5, model.architecture.embedding_size)).astype(np.float32)
    inputs, seen = {"rows": rows, "mask": np.ones((3, 5), np.float32)}, dict[str, np.ndarray]()
    hidden_states(model.architecture, model.parameters, inputs, observe=seen.__setitem__)
    whole = model.architecture.model_copy(update={"sizes": ()})
    all_rows = dict[str, np.ndarray]()
    hidden_states(whole, model.parameters, inputs, observe=all_rows.__setitem__)
    attended = np.asarray(all_rows["encoder.0.attention/weights"])[:, :, 0, 1:].mean(axis=1)
    for number, own in enumerate(attended):
        stay = [0, *(1 + np.sort(np.argsort(-own)[:3]))]  # ceil(0.6 * 4) of four patches
        wanted = np.asarray(all_rows["encoder.0.attention/output"])[number, stay]
        assert np.allclose(seen["encoder.0.attention/output"][number], wanted, atol=1e-6)
    assert seen["encoder.1.feed_forward/output"].shape[1] == 4

    def refused(*words: object) -> str:
        capsys.readouterr()
        assert freediv(monkeypatch, *words) == 2
        return capsys.readouterr().err

    recipe, out = tmp_path / "recipe.yaml", ("-o", tmp_path / "out")
    recipe.write_text(RECIPE)
    private = "the model drops tokens by attention, in plaintext alone"
    assert private in refused("convert", teacher, "--recipe", recipe, "--data", train, *out)
    assert private in refused("headroom", teacher, "--data", train)
    with pytest.raises(UserError, match=private):
        prepare_offer(teacher, without_headroom=True)
    bert, texts = FAMILIES / "bert-classifier", tmp_path / "texts.tsv"
    texts.write_text("sentence\tlabel\na film\tx\na plot\ty\n")
    assert "which is for images" in refused("finetune", bert, "--data", texts, *dropping, *out)
