"""What a smaller word table costs is said before a training is paid for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from freediv.conversion.student.recipe import Recipe
from freediv.conversion.student.replacement import make_student
from freediv.conversion.student.table_cut import measure_table_cut
from freediv.conversion.texts.examples import read_examples
from freediv.model import encode, read_model, read_tokenizer
from freediv.model.reading.texts import TextReader

from .conftest import Task


@pytest.mark.parametrize(("vocabulary", "rank"), [(None, None), (None, 4), (150, None), (150, 4)])
def test_what_is_cut_off_a_word_table_is_measured(
    task: Task, teacher: Path, vocabulary: int | None, rank: int | None
) -> None:
    model, texts = read_model(teacher), read_examples(task.train).texts[:100]
    tokenizer = read_tokenizer(teacher)
    sequences = encode(tokenizer, texts, 48, tokenizer.get_vocab_size())
    smaller = {"vocabulary": vocabulary, "rank": rank}
    student = make_student(
        model, TextReader(tokenizer), sequences[:1], Recipe(name="x", functions={}, embedding=smaller)
    )
    own = encode(student.reader.tokenizer, texts, 8, student.reader.tokenizer.get_vocab_size())
    found = measure_table_cut(student, model, own, sequences)

    whole = model.parameters["embedding"]["word"]
    embedding = student.model.parameters["embedding"]
    pieces = np.concatenate(own)
    near = (embedding["word"] @ embedding["projection"] if rank else embedding["word"])[pieces]
    true = whole[student.kept[pieces]]
    assert found.lost == pytest.approx(np.square(near - true).sum() / np.square(true).sum(), rel=1e-4, abs=1e-9)
    words = [{word for word in text.split() if tokenizer.token_to_id(word) not in student.kept} for text in texts]
    assert (found.otherwise > 0) == any(words) == (vocabulary is not None)
    assert bool(str(found)) == (vocabulary is not None or rank is not None)


def test_a_published_table_that_the_teacher_has_changed_is_a_loss_too(task: Task, teacher: Path) -> None:
    model, tokenizer = read_model(teacher), read_tokenizer(teacher)
    sequences = encode(tokenizer, read_examples(task.train).texts[:20], 48, tokenizer.get_vocab_size())
    recipe = Recipe(name="x", functions={})
    table = model.parameters["embedding"]["word"]
    same, other = (
        make_student(model, TextReader(tokenizer), sequences, recipe, published) for published in (table, 2 * table)
    )
    assert str(measure_table_cut(same, model, sequences, sequences)) == ""
    assert "100 % of what its rows hold is lost" in str(measure_table_cut(other, model, sequences, sequences))
