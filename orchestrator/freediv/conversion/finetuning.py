"""A teacher: a pretrained encoder, fine-tuned on labelled sentences, or on what a larger classifier says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np

from ..errors import UserError
from ..model import (
    Architecture,
    Model,
    Parameters,
    Precision,
    forward,
    read_pretrained,
    read_reader,
    write_model,
)
from ..model.answers import ANSWERS, LABEL, answer_of
from ..model.reading.texts import TextReader
from .cards.attempts import Attempt
from .cards.card import settings_section
from .making import Made, Making, Measured, Product, digests, make
from .measures.evaluation import Evaluation
from .measures.predictions import evaluate, evaluate_beside
from .output import require_new
from .run_directory import RunDirectory
from .texts.examples import Examples
from .texts.holding_out import whole_rows
from .texts.pairing import as_read, separator_of
from .texts.targets import as_wanted
from .training.blocks import dropping_tokens, require_layers, trained_alone, trains
from .training.dropout import RandomDropout
from .training.epochs import Mixture, draw_epochs, held_out_rows, with_labels, with_logits
from .training.guide import make_guide, read_guide
from .training.loop import train
from .training.losses import inputs_of
from .training.outlook import Outlook
from .training.phase import Epoch, Loss, Phase, Schedule
from .training.steps import Programs
from .training.stopping import stopping

Array = jax.Array


@dataclass(frozen=True)
class FinetuneSettings:
    """How a teacher is trained, and what it `answer`s; the defaults are a usual choice for models of this size.

    `seeds` trainings, from `seed` on, which the rows held out choose between. After `patience` epochs without a better
    one on those rows a training ends, and its best epoch is kept (0: all epochs, and the last). `long_share` of the
    tokens are in rows strung together up to the `longest` length, which only a guide has labels for. Of the layers,
    `blocks` are trained; none: all, and the embedding. Of images, layers in `drop_tokens` leave patches out, and the
    share `keep_tokens` of them stays, also when the teacher is asked.
    """

    answer: str = LABEL.name
    epochs: int = 3
    learning_rate: float = 5e-5
    tokens_per_batch: int = 1024
    accumulate: int = 1
    long_share: float = 0.0
    longest: int = 128
    shapes: int = 6
    dropout: float = 0.1
    weight_decay: float = 0.01
    freeze_embeddings: bool = False
    whole_rows: bool = False
    blocks: tuple[int, ...] = ()
    drop_tokens: tuple[int, ...] = ()
    keep_tokens: float = 0.5
    precision: Precision = "float32"
    patience: int = 0
    hold_out: float = 0.02
    seed: int = 0
    seeds: int = 1


def finetune(pretrained: Path, settings: FinetuneSettings, making: Making) -> Made:
    """Fine-tune `pretrained` and write the teacher; with a guide, it learns what the guide says in place of the data
    (Hinton et al. 2015, temperature 1; of vectors, Reimers and Gurevych 2020).

    Raises:
        UserError: the output is there already, the pretrained model or the guide cannot be read, the guide's labels are
            others, the examples have one label alone, or nothing says what is to be learned.
    """
    require_new(making.out)
    examples, guide = making.examples, making.guide
    answer = ANSWERS[settings.answer]
    if guide is None and answer.target == "nothing":
        raise UserError(
            f"--answer {answer.name}: no data says what {answer.words.one} a text has; give a --guide, to learn its "
            f"{answer.words.many}"
        )
    if guide is None and answer is LABEL and examples.labels is not None and len(np.unique(examples.labels)) < 2:
        name = examples.label_names[examples.labels[0]]
        raise UserError(f"{examples.source}: every row has the label '{name}'; give examples of two labels or more")
    if settings.long_share and guide is None:
        raise UserError("--long-share: rows strung together have no label; give a --guide, which tells what they say")
    return make(making, settings.hold_out, partial(_Finetuning, pretrained, settings, making))


class _Finetuning:
    """A teacher on its way: each seed trains the pretrained model from its beginning."""

    command, name, title = "finetune", "teacher", "a fine-tuned model"

    def __init__(
        self, pretrained: Path, settings: FinetuneSettings, making: Making, kept: Examples, held_out: Examples
    ) -> None:
        if settings.patience and not len(held_out):
            raise UserError("--patience needs rows to judge by; give --hold-out a larger share")
        if settings.whole_rows:
            kept = whole_rows(kept)
        self.kept, self.seeds = kept, range(settings.seed, settings.seed + settings.seeds)
        self.settings = settings_section("Settings", asdict(settings))
        self.facts: Mapping[str, object] = {"blocks": list(settings.blocks)} if settings.blocks else {}
        self.about = trained_alone(settings.blocks)
        self._pretrained, self._own = pretrained, settings
        self._digests = digests(pretrained=Path(pretrained))
        self._data = {"held out": held_out, "dev": making.dev}
        self._answer = ANSWERS[settings.answer]
        reader = read_reader(pretrained)
        self._separator = separator_of(reader.tokenizer) if isinstance(reader, TextReader) and kept.pairs else None
        model = self._begun(settings.seed)
        require_layers(settings.blocks, model.architecture.layers, "--blocks")
        if making.dev is not None:
            as_read(model, making.dev.texts, making.dev.source)
        self._longest = model.architecture.cut_at(settings.longest)
        judged = held_out if settings.patience else held_out.take(np.arange(0))
        texts = [*kept.texts, *judged.texts]
        self._sequences = reader.sequences(texts, model.architecture, self._longest)
        self._targets = None
        if kept.labels is not None and judged.labels is not None:
            labels = np.concatenate([kept.labels, judged.labels])
            self._targets = as_wanted(self._answer.target, reader, texts, labels, self._longest)
        self._guide = None
        if making.guide is not None:
            self._guide = make_guide(read_guide(making.guide, kept, model), texts)

    def identity(self, seed: int) -> dict[str, object]:
        return {**self._digests, "settings": asdict(replace(self._own, seed=seed, seeds=1))}

    def train(self, seed: int, run: RunDirectory, programs: Programs) -> Product:
        model, own, guided = self._begun(seed), self._own, self._guide is not None
        epochs = self._epochs(model.architecture, seed, run)
        pad_token, exact = model.architecture.pad_token, answer_loss(model.architecture, 0.0, guided=guided)
        phase = Phase(
            name="finetune",
            loss=answer_loss(model.architecture, own.dropout, guided=guided),
            epochs=epochs[: own.epochs],
            schedule=Schedule(
                own.learning_rate,
                weight_decay=own.weight_decay,
                beta2=0.999,
                warmup_steps=200,
                accumulate=own.accumulate,
            ),
            pad_token=pad_token,
            seed=seed,
            rate=lambda stage, name: float(
                trains(own.blocks, stage) and not (own.freeze_embeddings and name == "word")
            ),
            stopping=stopping(own.patience, exact, epochs[own.epochs :], None, pad_token, own.precision),
            precision=own.precision,
        )
        outlook = Outlook({phase.name: sum(len(epoch.plan) for epoch in phase.epochs)}, self.seeds.stop - seed)
        trained = train(phase, model.parameters, None, run, programs, outlook)
        return replace(model, parameters=trained.parameters), {"finetune": trained}

    def measure(self, products: Mapping[int, Product]) -> Measured:
        attempts = []
        for seed, (model, phases) in products.items():
            found = {name: self._evaluate(model, data, name) for name, data in self._data.items()}
            attempts.append(Attempt(seed, model, phases, found))
        return Measured(attempts)

    def _evaluate(self, model: Model, data: Examples | None, name: str) -> Evaluation | None:
        """How good a model is beside what data says; where that is nothing, beside the guide."""
        if data is None or not len(data):
            return None
        if data.labels is not None:
            return evaluate(model, data, f"evaluate: {name}")
        return None if self._guide is None else evaluate_beside(model, self._guide.model, data, f"evaluate: {name}")

    def write(self, chosen: Attempt, model: Model, directory: Path) -> None:
        write_model(model, directory)

    def _begun(self, seed: int) -> Model:
        own = self._own
        model = read_pretrained(self._pretrained, self.kept.label_names, seed, self._answer)
        model = dropping_tokens(model, own.drop_tokens, own.keep_tokens)
        return replace(model, architecture=model.architecture.model_copy(update={"separator_token": self._separator}))

    def _epochs(self, architecture: Architecture, seed: int, run: RunDirectory) -> tuple[Epoch, ...]:
        """Those of the training, and of rows held out where they are judged by."""
        own, guide, kept = self._own, self._guide, len(self.kept)
        long_share = own.long_share if architecture.padded else 0.0
        mixture = Mixture(None, long_share, self._longest, own.tokens_per_batch, own.shapes)
        rows = draw_epochs(self._sequences[:kept], architecture.separator_token, own.epochs, mixture, (seed,))
        if own.patience:
            rows = (*rows, held_out_rows(self._sequences, kept, mixture))
        if guide is None:
            assert self._targets is not None
            return with_labels(rows, self._targets)
        return with_logits(rows, guide.model, guide.read, run, own.precision, "the guide's logits")


def answer_loss(architecture: Architecture, dropout: float, *, guided: bool) -> Loss:
    """The mean loss of what data says, or the distance from a guide's logits, with dropout at BERT's places."""
    answer = answer_of(architecture)

    def loss(parameters: Parameters, constants: None, batch: Mapping[str, Array], key: Array) -> Array:
        drop = RandomDropout(key, dropout, dropout)
        logits = forward(architecture, parameters, inputs_of(batch), dropout=drop)
        targets = batch["targets"]
        each = (answer.distance if guided else answer.loss)(logits, targets, batch["mask"])
        return (each * batch["weight"]).sum() / batch["weight"].sum()

    return loss
