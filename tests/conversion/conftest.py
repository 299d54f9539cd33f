"""A small BERT with random weights, and sentences whose label a few words decide. All of it is made here."""

from __future__ import annotations

import csv
import json
import string
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tiny
from freediv.cli import main
from freediv.model import write_model
from tiny import PUBLISHED
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

GOOD = ["delightful", "warm", "clever", "moving", "superb", "charming"]
BAD = ["dreadful", "cold", "stupid", "boring", "clumsy", "hollow"]
PLAIN = ["the", "film", "story", "music", "acting", "was", "and", "with", "its", "script", "camera", "ending"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def make_tokenizer() -> Tokenizer:
    """A WordPiece tokenizer as BERT's: words, some pieces of words, and all ASCII characters."""
    characters = [c for c in string.printable if not c.isspace() and not c.isupper()]
    pieces = [
        *SPECIAL,
        *characters,
        *(f"##{c}" for c in characters),
        *GOOD,
        *BAD,
        *PLAIN,
        "##ing",
        "##ful",
        "un",
        "##ly",
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(piece, vocabulary[piece]) for piece in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def make_sentences(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Sentences of 3 to 14 words; one to three words of them, all good or all bad, decide the label."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        label = int(rng.integers(2))
        words = [*rng.choice(PLAIN, rng.integers(2, 12)), *rng.choice(GOOD if label else BAD, rng.integers(1, 4))]
        texts.append(" ".join(rng.permutation(words)))
        labels.append(label)
    return texts, labels


def write_tsv(path: Path, texts: list[str], labels: list[int]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        writer.writerow(["sentence", "label"])
        writer.writerows(zip(texts, labels, strict=True))
    return path


def freediv(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", ["freediv", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@dataclass(frozen=True)
class Task:
    """A pretrained directory, training and dev data, and a recipe."""

    pretrained: Path
    train: Path
    dev: Path
    recipe: Path


RECIPE = """\
name: tiny
functions: {attention: 2quad-freediv, activation: quad}
embedding: {vocabulary: 160, rank: 12}
positions: 32
data: {hold_out: 0.1, longest: 32, tokens_per_batch: 128, shapes: 2}
calibration_rows: 64
hidden: {epochs: 4, learning_rate: 3.0e-3, warmup_steps: 10}
logits: {epochs: 4, learning_rate: 3.0e-3, warmup_steps: 10}
"""


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    directory = tmp_path_factory.mktemp("task")
    pretrained = directory / "pretrained"
    tokenizer = make_tokenizer()
    sizes = {"vocabulary": tokenizer.get_vocab_size(), "heads": 2, "intermediate": 32, "positions": 48}
    write_model(tiny.model(scale=0.2, **sizes, **PUBLISHED), pretrained)
    tokenizer.save(str(pretrained / "tokenizer.json"))
    (pretrained / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    recipe = directory / "recipe.yaml"
    recipe.write_text(RECIPE)
    return Task(
        pretrained,
        write_tsv(directory / "train.tsv", *make_sentences(400, seed=1)),
        write_tsv(directory / "dev.tsv", *make_sentences(200, seed=2)),
        recipe,
    )


@pytest.fixture(scope="session")
def teacher(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task's teacher, by the function that `freediv finetune` calls."""
    from freediv.conversion.finetuning import FinetuneSettings, finetune
    from freediv.conversion.making import Making
    from freediv.conversion.texts.examples import read_examples

    directory = tmp_path_factory.mktemp("teacher")
    examples = read_examples(task.train, label_names=("negative", "positive"))
    settings = FinetuneSettings(epochs=6, learning_rate=5e-3, tokens_per_batch=128, longest=32, shapes=2)
    finetune(task.pretrained, settings, Making(examples, None, directory / "out", "freediv finetune"))
    return directory / "out"
