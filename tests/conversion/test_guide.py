"""A teacher that learns from a larger one, and what a teacher says of the rows of an epoch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.cards.card import read_card
from freediv.conversion.cards.comparing import read_result
from freediv.conversion.measures.predictions import logits_of
from freediv.conversion.run_directory import RunDirectory
from freediv.conversion.student.distillation import distil
from freediv.conversion.student.recipe import StageRecipe, read_recipe
from freediv.conversion.student.replacement import make_student
from freediv.conversion.texts.examples import read_examples
from freediv.conversion.training import epochs as epochs_module
from freediv.conversion.training.epochs import Mixture, draw_epochs, with_logits
from freediv.conversion.training.guide import make_guide, make_guide_beside, reads_pieces, reads_rows
from freediv.conversion.training.steps import Programs
from freediv.errors import UserError
from freediv.model import Model, encode, read_model, read_tokenizer, write_model
from freediv.model.reading.texts import TextReader

from .conftest import Task, freediv


@pytest.fixture
def contrary(teacher: Path, tmp_path: Path) -> Path:
    """A guide that is certain of the other label."""
    model = read_model(teacher)
    classifier = {
        name: value[..., ::-1] if name in ("weight", "bias") else value
        for name, value in model.parameters["classifier"].items()
    }
    write_model(
        replace(model, parameters=model.parameters | {"classifier": classifier}), tmp_path / "guide", tokenizer=teacher
    )
    return tmp_path / "guide"


def test_a_guided_teacher_learns_what_its_guide_says_and_not_the_labels(
    task: Task, contrary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--epochs", "6", "--learning-rate", "5e-3", "--tokens-per-batch", "128", "--longest", "32"]
    arguments += [
        "--guide",
        contrary,
        "--long-share",
        "0.2",
        "--data",
        task.train,
        "--label-names",
        "negative,positive",
    ]
    assert freediv(monkeypatch, "finetune", task.pretrained, *arguments, "-o", tmp_path / "out") == 0
    card = read_card(tmp_path / "out")
    assert card["guide"] == "guide"
    accuracy = card["accuracy"]["held out"]
    assert accuracy["correct"] <= 0.1 * accuracy["count"]


def test_a_guide_of_other_labels_and_long_rows_without_one_are_refused(
    task: Task, contrary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("finetune", task.pretrained, "--data", task.train, "-o", tmp_path / "out")
    assert freediv(monkeypatch, *command, "--guide", contrary, "--label-names", "bad,good") == 2
    assert "knows the labels negative, positive, the data has bad, good" in capsys.readouterr().err
    assert freediv(monkeypatch, *command, "--long-share", "0.2") == 2
    assert "give a --guide" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.run").exists()


def test_every_sequence_has_its_own_logits_and_a_row_of_several_epochs_is_read_once(
    task: Task, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_model(teacher)
    sequences = encode(
        read_tokenizer(teacher), read_examples(task.train).texts[:40], 32, read_tokenizer(teacher).get_vocab_size()
    )
    pieces = 3 * sum(map(len, sequences)) // 4
    rows = draw_epochs(sequences, None, 2, Mixture(pieces, 0.3, 32, 128, 2), (0,))
    read: list[np.ndarray] = []

    def counting(model: Model, sequences: list[np.ndarray], task: str) -> np.ndarray:
        read.extend(sequences)
        return logits_of(model, sequences, task)

    monkeypatch.setattr(epochs_module, "logits_of", counting)
    guide = reads_rows(model, sequences)
    with RunDirectory(tmp_path, {}) as run:
        epochs, again = (with_logits(rows, guide.model, guide.read, run, "float32") for _ in range(2))
    long = [group for one in rows for group in one.groups if len(group) > 1]
    assert len(long) > 4 and len(read) == len({one.tobytes() for one in sequences}) + len(long)
    for epoch, same in zip(epochs, again, strict=True):
        assert len(epoch.targets) == len(epoch.sequences)
        np.testing.assert_allclose(epoch.targets, logits_of(model, epoch.sequences), atol=1e-5)
        np.testing.assert_array_equal(epoch.targets, same.targets)


def test_noise_replaces_a_share_of_the_pieces_but_none_that_hold_a_text_together(task: Task, teacher: Path) -> None:
    tokenizer = read_tokenizer(teacher)
    pairs = [(text, text[::-1]) for text in read_examples(task.train).texts[:200]]
    separator = tokenizer.token_to_id("[SEP]")
    sequences = encode(tokenizer, pairs, 48, tokenizer.get_vocab_size())
    plain, noisy = (
        draw_epochs(sequences, separator, 2, Mixture(None, 0.2, 48, 128, 2, noise), (0,)) for noise in (0.0, 0.25)
    )
    before, after = (np.concatenate([s for one in rows for s in one.epoch.sequences]) for rows in (plain, noisy))
    special = np.isin(before, [separator, tokenizer.token_to_id("[CLS]")])
    assert np.array_equal(before[special], after[special]) and not np.isin(after[~special], before[special]).any()
    assert 0.2 < np.mean(before[~special] != after[~special]) < 0.25  # some are replaced by themselves
    assert not np.array_equal(noisy[0].epoch.sequences[0], noisy[1].epoch.sequences[0])


def test_with_noise_the_teacher_reads_what_the_student_reads(task: Task, teacher: Path, tmp_path: Path) -> None:
    """A cut vocabulary has other numbers, and a teacher that read the text as it was would say something else."""
    model, texts = read_model(teacher), list(read_examples(task.train).texts[:64])
    recipe = read_recipe(task.recipe).model_copy(
        update={"logits": StageRecipe(epochs=1, learning_rate=1e-3, noise=0.3)}
    )
    recipe = recipe.model_copy(update={"hidden": StageRecipe(epochs=0, learning_rate=1e-3)})
    full = encode(read_tokenizer(teacher), texts, 48, read_tokenizer(teacher).get_vocab_size())
    student = make_student(model, TextReader(read_tokenizer(teacher)), full, recipe)
    own = encode(student.reader.tokenizer, texts, 32, student.reader.tokenizer.get_vocab_size())
    with RunDirectory(tmp_path, {}) as run:
        distil(student, model, reads_pieces(model, student.kept), own, recipe, run, Programs())
        found = run.load("teacher-logits", {"logits": np.zeros(0)})
    mixture = Mixture(None, recipe.data.long_share, 32, 128, 2, 0.3)
    [rows] = draw_epochs(own, None, 1, mixture, (recipe.seed, 2))
    read = list({s.tobytes(): s for s in (student.kept[one] for one in rows.epoch.sequences)}.values())
    assert found is not None
    np.testing.assert_allclose(found[0]["logits"], logits_of(model, read), atol=1e-5)


@pytest.fixture
def other_pieces(contrary: Path, tmp_path: Path) -> Path:
    """The same guide, whose word pieces have other numbers."""
    model, tokenizer = read_model(contrary), read_tokenizer(contrary)
    shift = 7
    described = json.loads(tokenizer.to_str())
    size = len(described["model"]["vocab"])
    turned = {piece: (number + shift) % size for piece, number in described["model"]["vocab"].items()}
    described["model"]["vocab"] = turned
    for token in described["added_tokens"]:
        token["id"] = turned[token["content"]]
    for special in described["post_processor"]["special_tokens"].values():
        special["ids"] = [turned[piece] for piece in special["tokens"]]
    embedding = model.parameters["embedding"] | {"word": np.roll(model.parameters["embedding"]["word"], shift, axis=0)}
    architecture = model.architecture.model_copy(update={"pad_token": turned["[PAD]"]})
    moved = replace(model, architecture=architecture, parameters=model.parameters | {"embedding": embedding})
    write_model(moved, tmp_path / "other", tokenizer=contrary)
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(described))
    return tmp_path / "other"


def test_a_guide_of_other_word_pieces_reads_what_the_student_reads(
    task: Task, contrary: Path, other_pieces: Path
) -> None:
    texts = list(read_examples(task.train).texts[:64])
    tokenizer, moved = read_tokenizer(contrary), read_model(other_pieces)
    sequences = encode(tokenizer, texts, 32, tokenizer.get_vocab_size())
    guide = make_guide_beside(moved, tokenizer, sequences)
    [rows] = draw_epochs(sequences, None, 1, Mixture(None, 0.2, 32, 128, 2, 0.3), (0,))
    found = logits_of(moved, guide.read(rows))
    np.testing.assert_allclose(found, logits_of(read_model(contrary), rows.epoch.sequences), atol=1e-5)
    clean = logits_of(moved, make_guide(moved, texts).read(rows))
    assert np.abs(clean - found).max() > 0.1


def test_a_students_last_stage_learns_what_a_guide_says(
    task: Task, teacher: Path, other_pieces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(task.recipe.read_text().replace("warmup_steps: 10}\n", "warmup_steps: 10, noise: 0.1}\n"))
    arguments = ["--recipe", recipe, "--data", task.train, "--guide", other_pieces, "-o", tmp_path / "student"]
    assert freediv(monkeypatch, "convert", teacher, *arguments) == 0
    card = read_card(tmp_path / "student")
    assert card["guide"] == "other"
    wrong = card["accuracy"]["held out"]["student"]
    assert wrong["correct"] <= 0.25 * wrong["count"]
    assert read_result("student", tmp_path / "student").guide == "other"


def test_a_guide_whose_word_pieces_are_others_altogether_is_refused_where_there_is_noise(
    task: Task, contrary: Path
) -> None:
    described = json.loads(read_tokenizer(contrary).to_str())
    vocabulary = described["model"]["vocab"]
    described["model"]["vocab"] = {
        piece if piece.startswith("[") else f"x{piece}": number for piece, number in vocabulary.items()
    }
    (contrary / "tokenizer.json").write_text(json.dumps(described))
    texts = list(read_examples(task.train).texts[:64])
    with pytest.raises(UserError, match="its word pieces are others; leave out the last stage's noise"):
        tokenizer = read_tokenizer(task.pretrained)
        make_guide_beside(read_model(contrary), tokenizer, encode(tokenizer, texts, 32, tokenizer.get_vocab_size()))
    make_guide(read_model(contrary), texts)
