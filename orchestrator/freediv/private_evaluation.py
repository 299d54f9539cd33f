"""How well a served model answers, beside the same model in plaintext."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .conversion.accuracy import NO_ANSWER, Accuracy, Evaluation, accuracy_of, evaluate_predictions, labels_of
from .conversion.data import Examples
from .conversion.evaluation import logits_of
from .conversion.pairs import as_read
from .conversion.vocabulary import encode, read_tokenizer
from .errors import UserError
from .roles.data_owner import Progress, infer
from .transformer import Model


@dataclass(frozen=True)
class PrivateEvaluation:
    """Private and plaintext answers to the same sentences.

    `agreement` counts equal labels, `differing` are the row numbers (from 0) where they are not, and
    `largest_logit_error` is given where the parties reveal logits. `seconds` are those of all requests.
    """

    private: Evaluation
    plaintext: Evaluation
    agreement: Accuracy
    differing: tuple[int, ...]
    largest_logit_error: float | None
    seconds: float
    requests: int

    def to_dict(self) -> dict[str, object]:
        """For `--json`: the private evaluation's keys, and what else there is."""
        return self.private.to_dict() | {
            "plaintext": self.plaintext.to_dict(),
            "agreement": self.agreement.accuracy,
            "differing": list(self.differing),
            "largest_logit_error": self.largest_logit_error,
            "seconds": self.seconds,
            "requests": self.requests,
        }


def evaluate_privately(
    folder: Path, model: Model, examples: Examples, on_progress: Callable[[Progress], None] = lambda progress: None
) -> PrivateEvaluation:
    """Classify labelled sentences through a running deployment, as a data owner, and compare.

    Args:
        folder: the data owner's.
        model: the one that is served, to compare with.
        examples: with labels.
        on_progress: called as requests go on.

    Raises:
        UserError: the parties serve a model of another architecture, or what `infer` raises.
    """
    model = as_read(model, examples.texts, examples.source)
    if model.directory is None or examples.labels is None:
        raise ValueError("needs a model with a tokenizer, and labels")
    answers = infer(folder, examples.texts, on_progress=on_progress)
    if answers.architecture != model.architecture:
        raise UserError(f"{model.directory}: the parties serve a model of another architecture; load this one first")
    sequences = encode(read_tokenizer(model.directory), examples.texts, model.architecture.positions)
    lengths = [len(sequence) for sequence in sequences]
    logits = logits_of(model, sequences, "the same in plaintext")
    plaintext = labels_of(logits)
    private = np.array([NO_ANSWER if one.label is None else one.label for one in answers.predictions])
    differing = np.flatnonzero(plaintext != private)
    errors = [
        float(np.abs(one.logits - own).max())
        for one, own in zip(answers.predictions, logits, strict=True)
        if one.logits is not None
    ]
    return PrivateEvaluation(
        private=evaluate_predictions(private, examples.labels, lengths),
        plaintext=evaluate_predictions(plaintext, examples.labels, lengths),
        agreement=accuracy_of(len(private) - len(differing), len(private)),
        differing=tuple(int(row) for row in differing),
        largest_logit_error=max(errors) if errors else None,
        seconds=sum(request.seconds for request in answers.requests),
        requests=len(answers.requests),
    )
