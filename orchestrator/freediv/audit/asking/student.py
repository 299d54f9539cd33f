"""The attacker's student: what it begins as, and how it learns a model's answers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...conversion.finetuning import answer_loss
from ...conversion.run_directory import RunDirectory
from ...conversion.texts.batches import padding_lengths, plan_batches
from ...conversion.texts.pairing import separator_of
from ...conversion.training.loop import train
from ...conversion.training.phase import Epoch, Loss, Phase, Schedule
from ...conversion.training.steps import Programs
from ...model import (
    Architecture,
    LayerFunctions,
    Model,
    Text,
    encode,
    initial_parameters,
    read_pretrained,
    read_tokenizer,
)

_TOKENS_PER_BATCH = 512
_ROWS, _FEWEST, _MOST = 12_000, 4, 40
"""Rows that a training goes through, and how often it reads each row at least and at most."""
_WIDTH = 128
_HEAD = 32
_DROPOUT = 0.1
_FRESH_RATE, _PRETRAINED_RATE = 5e-4, 5e-5
_SHAPES = 3


@dataclass(frozen=True)
class Attacker:
    """A student before it has learned anything.

    Attributes:
        start: its model; its directory holds its tokenizer.
        rate: learning rate.
        frozen: whether its word table stays as it is.
        about: what it is, for people.
        longest: pieces that it reads of a text.
    """

    start: Model
    rate: float
    frozen: bool
    about: str
    longest: int

    def read(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Texts in its own word pieces."""
        assert self.start.directory is not None
        tokenizer = read_tokenizer(self.start.directory)
        return encode(tokenizer, texts, self.longest, self.start.architecture.vocabulary)


def fresh(model: Model, longest: int, seed: int) -> Attacker:
    """What any data owner can make of what a deployment tells them: the tokenizer and the published word table, where
    there is one, under one encoder layer of random weights.
    """
    own = model.architecture
    table = model.public_table
    width = _WIDTH if table is None else own.embedding_size
    longest = min(longest, own.positions)
    architecture = Architecture(
        vocabulary=own.vocabulary,
        embedding_size=width,
        hidden=width,
        layers=1,
        heads=width // _HEAD if width % _HEAD == 0 else 1,
        intermediate=2 * width,
        positions=longest,
        label_names=own.label_names,
        pad_token=own.pad_token,
        separator_token=own.separator_token,
        embedding="public",
        functions=(LayerFunctions(),),
        pooler="none",
    )
    parameters = initial_parameters(architecture, seed)
    if table is not None:
        parameters["embedding"]["word"] = np.asarray(table, np.float32)
    about = "an encoder layer of random weights under " + (
        "the published word table" if table is not None else "its own"
    )
    return Attacker(Model(architecture, parameters, model.directory), _FRESH_RATE, table is not None, about, longest)


def pretrained(directory: Path, model: Model, longest: int, seed: int) -> Attacker:
    """A pretrained encoder of the attacker's, with a new classifier.

    Raises:
        UserError: it cannot be read.
    """
    start = read_pretrained(directory, model.architecture.label_names, seed)
    separator = None
    if model.architecture.pairs:
        assert start.directory is not None
        separator = separator_of(read_tokenizer(start.directory))
    architecture = start.architecture.model_copy(update={"separator_token": separator})
    start = replace(start, architecture=architecture)
    return Attacker(start, _PRETRAINED_RATE, True, str(directory), min(longest, architecture.positions))


class Lessons:
    """Trainings of one student on more and more answers; what is compiled for one is kept for the next.

    Args:
        attacker: who learns.
        lengths: of all sequences that any training has, which decide the shapes to pad to.
        loss: what is minimised.
        name: for people, while it learns.
        seed: of batches and dropout.
    """

    def __init__(self, attacker: Attacker, lengths: Sequence[int], loss: Loss, name: str, seed: int) -> None:
        self._attacker, self._loss, self._name, self._seed = attacker, loss, name, seed
        self._pad_to = padding_lengths(lengths, _SHAPES)
        self._programs = Programs()

    def learn(self, sequences: Sequence[np.ndarray], targets: np.ndarray) -> Model:
        """The student after it has read these sequences, with these targets, a few times."""
        attacker = self._attacker
        passes = int(np.clip(_ROWS // len(sequences), _FEWEST, _MOST))
        again = [sequence for _ in range(passes) for sequence in sequences]
        plan = plan_batches(
            [len(sequence) for sequence in again],
            tokens_per_batch=_TOKENS_PER_BATCH,
            pad_to=self._pad_to,
            rng=np.random.default_rng(self._seed),
        )
        epochs = (Epoch(again, np.concatenate([targets] * passes), plan),)
        phase = Phase(
            name=self._name,
            loss=self._loss,
            epochs=epochs,
            schedule=Schedule(attacker.rate, beta2=0.999),
            pad_token=attacker.start.architecture.pad_token,
            seed=self._seed,
            rate=lambda stage, parameter: float(not (attacker.frozen and parameter == "word")),
        )
        with tempfile.TemporaryDirectory(prefix="freediv-audit-") as place, RunDirectory(Path(place), {}) as run:
            trained = train(phase, attacker.start.parameters, None, run, self._programs)
        return replace(attacker.start, parameters=trained.parameters)


def loss_of_texts(attacker: Attacker, *, logits: bool) -> Loss:
    """Of a model's labels, or of the probabilities that its logits stand for."""
    return answer_loss(attacker.start.architecture, _DROPOUT, guided=logits)
