"""A teacher: a pretrained encoder, fine-tuned on labelled sentences, or on what a larger classifier says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

from ..errors import UserError
from ..transformer import (
    Architecture,
    Model,
    Parameters,
    Precision,
    forward,
    read_pretrained,
    write_model,
)
from .accuracy import Evaluation
from .attempts import Attempt, attempts_section, best
from .card import (
    Provenance,
    accuracy_section,
    model_section,
    provenance_section,
    render_card,
    settings_section,
    training_device,
    training_section,
    versions_section,
)  # fmt: skip
from .data import Examples
from .epochs import Mixture, draw_epochs, with_labels, with_logits
from .evaluation import evaluate
from .guide import Guide, make_guide, read_guide
from .holding_out import hold_out
from .output import new_directory, require_new
from .pairs import as_read, separator_of
from .programs import Programs
from .run import RunDirectory, file_digest
from .training import Epoch, Loss, NumpyParameters, Phase, RandomDropout, Schedule, Stopping, train
from .vocabulary import encode, read_tokenizer

Array = jax.Array


@dataclass(frozen=True)
class FinetuneSettings:
    """How a teacher is trained; the defaults are a usual choice for BERT-family models of this size.

    `seeds` trainings, from `seed` on, which the rows held out choose between. After `patience` epochs without a better
    one on those rows a training ends, and its best epoch is kept (0: all epochs, and the last). `long_share` of the
    tokens are in rows strung together up to the `longest` length, which only a guide has labels for.
    """

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
    precision: Precision = "float32"
    patience: int = 0
    hold_out: float = 0.02
    seed: int = 0
    seeds: int = 1


@dataclass(frozen=True)
class Finetuned:
    """The teacher on disk, and its accuracy on the rows kept out of the training and on dev, where there are any."""

    model: Model
    held_out: Evaluation | None
    dev: Evaluation | None


def finetune(
    pretrained: Path,
    examples: Examples,
    dev: Examples | None,
    settings: FinetuneSettings,
    out: Path,
    run_path: Path,
    *,
    command: str,
    note: str = "",
    guide: Path | None = None,
) -> Finetuned:
    """Fine-tune `pretrained` on `examples` and write the teacher to `out`, resuming from what `run_path` holds.

    With a `guide`, a classifier of the same labels, it learns the guide's probabilities in place of the labels
    (Hinton et al. 2015, temperature 1).

    Raises:
        UserError: `out` is there already, the pretrained model or the guide cannot be read, or the guide's labels are
            others.
    """
    require_new(out)
    classifier = None if guide is None else read_guide(guide, examples)
    if settings.long_share and guide is None:
        raise UserError("--long-share: rows strung together have no label; give a --guide, which tells what they say")
    if settings.patience and not settings.hold_out:
        raise UserError("--patience needs rows to judge by; give --hold-out a share above 0")
    tokenizer = read_tokenizer(pretrained)
    separator = separator_of(tokenizer) if examples.pairs else None
    identity = {
        "command": "finetune",
        "pretrained": file_digest(Path(pretrained) / "model.safetensors"),
        "data": examples.digest,
        **({} if guide is None else {"guide": file_digest(guide / "model.safetensors")}),
    }
    kept, held_out = hold_out(examples, settings.hold_out)
    guiding = None if classifier is None else make_guide(classifier, kept.texts)
    attempts, programs = [], Programs()
    for seed in range(settings.seed, settings.seed + settings.seeds):
        own = replace(settings, seed=seed, seeds=1)
        model = read_pretrained(pretrained, examples.label_names, seed)
        model = replace(model, architecture=model.architecture.model_copy(update={"separator_token": separator}))
        if dev is not None:
            as_read(model, dev.texts, dev.source)
        sequences = encode(tokenizer, kept.texts, min(settings.longest, model.architecture.positions))
        with RunDirectory(run_path / f"seed-{seed}", identity | {"settings": asdict(own)}) as run:
            stopping = Stopping(partial(_accuracy, model, held_out), own.patience) if own.patience else None
            epochs = _epochs(model.architecture, sequences, kept, own, guiding, run)
            phase = _phase(model.architecture, epochs, own, stopping, guided=guiding is not None)
            trained = train(phase, model.parameters, None, run, programs)
        model = replace(model, parameters=trained.parameters)
        measured = {
            name: evaluate(model, data, f"evaluate: {name}") if data is not None and len(data) else None
            for name, data in (("held out", held_out), ("dev", dev))
        }
        attempts.append(Attempt(seed, model, {"finetune": trained}, measured))
    chosen = best(attempts, 0.0)
    provenance = Provenance(command, examples.source.name, examples.digest, len(kept), note)
    with new_directory(out) as directory:
        write_model(chosen.model, directory)
        card = _card(out.name, settings, attempts, chosen, provenance, None if guide is None else guide.name)
        (directory / "README.md").write_text(card, encoding="utf-8")
    return Finetuned(replace(chosen.model, directory=out), chosen.evaluations["held out"], chosen.evaluations["dev"])


def _accuracy(model: Model, examples: Examples, parameters: NumpyParameters) -> float:
    """Of a model with these parameters."""
    return evaluate(replace(model, parameters=parameters), examples, "evaluate: held out").overall.accuracy


def _phase(
    architecture: Architecture,
    epochs: tuple[Epoch, ...],
    settings: FinetuneSettings,
    stopping: Stopping | None,
    *,
    guided: bool,
) -> Phase:
    return Phase(
        name="finetune",
        loss=cross_entropy(architecture, settings.dropout, guided=guided),
        epochs=epochs,
        schedule=Schedule(
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            beta2=0.999,
            warmup_steps=200,
            accumulate=settings.accumulate,
        ),
        pad_token=architecture.pad_token,
        seed=settings.seed,
        rate=lambda stage, name: float(not (settings.freeze_embeddings and name == "word")),
        stopping=stopping,
        precision=settings.precision,
    )


def cross_entropy(architecture: Architecture, dropout: float, *, guided: bool) -> Loss:
    """Mean cross-entropy of the labels, or of the probabilities that a guide's logits stand for, with dropout at
    BERT's places.
    """

    def loss(parameters: Parameters, constants: None, batch: Mapping[str, Array], key: Array) -> Array:
        drop = RandomDropout(key, dropout, dropout)
        inputs = {"token_ids": batch["token_ids"], "mask": batch["mask"]}
        logits = forward(architecture, parameters, inputs, dropout=drop)
        targets = batch["targets"]
        if guided:
            each = optax.softmax_cross_entropy(logits, jax.nn.softmax(targets))
        else:
            each = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return (each * batch["weight"]).sum() / batch["weight"].sum()

    return loss


def _epochs(
    architecture: Architecture,
    sequences: Sequence[np.ndarray],
    examples: Examples,
    settings: FinetuneSettings,
    guide: Guide | None,
    run: RunDirectory,
) -> tuple[Epoch, ...]:
    longest = min(settings.longest, architecture.positions)
    mixture = Mixture(None, settings.long_share, longest, settings.tokens_per_batch, settings.shapes)
    rows = draw_epochs(sequences, architecture.separator_token, settings.epochs, mixture, (settings.seed,))
    if guide is None:
        assert examples.labels is not None
        return with_labels(rows, examples.labels)
    return with_logits(rows, guide.model, guide.read, run, settings.precision, "the guide's logits")


def _card(
    name: str,
    settings: FinetuneSettings,
    attempts: Sequence[Attempt],
    chosen: Attempt,
    provenance: Provenance,
    guide: str | None,
) -> str:
    measured = chosen.evaluations
    summary = {
        "library_name": "freediv",
        "pipeline_tag": "text-classification",
        "freediv": {
            **({} if guide is None else {"guide": guide}),
            "seed": chosen.seed,
            "training_seconds": round(chosen.seconds),
            "device": training_device(),
            "accuracy": {data: one.to_dict() for data, one in measured.items() if one is not None},
            "seeds": [attempt.summary() for attempt in attempts],
        },
    }
    sections = [
        model_section(chosen.model.architecture),
        accuracy_section({"teacher": measured["dev"]}, "Accuracy on dev"),
        accuracy_section({"teacher": measured["held out"]}, "Accuracy on rows kept out of the training"),
        attempts_section(attempts, chosen),
        provenance_section(provenance),
        settings_section("Settings", asdict(settings)),
        training_section(chosen.phases),
        versions_section(),
    ]
    return render_card(f"{name}: a fine-tuned classifier", summary, sections)
