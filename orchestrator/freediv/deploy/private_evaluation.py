"""How well a served model answers, beside the same model in plaintext."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cluster.configuration import read_owner_config
from ..conversion.measures.evaluation import Estimate, Evaluation, accuracy_of, evaluate_answers
from ..conversion.measures.predictions import logits_of
from ..conversion.texts.examples import Examples
from ..conversion.texts.pairing import as_read
from ..conversion.texts.targets import as_wanted
from ..errors import UserError
from ..model import Model, read_reader
from ..model.answers import answer_of
from ..model.pixel_ranges import without_ranges
from ..owners.data_owner import Progress, infer


@dataclass(frozen=True)
class PrivateEvaluation:
    """Private and plaintext answers to the same sentences.

    `agreement` counts equal answers, `differing` are the row numbers (from 0) where they are not, and
    `largest_logit_error` is given where the parties reveal logits. `seconds` are those of all requests.
    """

    private: Evaluation
    plaintext: Evaluation
    agreement: Estimate
    differing: tuple[int, ...]
    largest_logit_error: float | None
    seconds: float
    requests: int

    def to_dict(self) -> dict[str, object]:
        """For `--json`: the private evaluation's keys, and what else there is."""
        return self.private.to_dict() | {
            "plaintext": self.plaintext.to_dict(),
            "agreement": self.agreement.value,
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
        examples: with labels; where data says nothing, or the parties tell less than it, plaintext takes their place.
        on_progress: called as requests go on.

    Raises:
        UserError: the parties serve a model of another architecture, or what `infer` raises.
    """
    model = as_read(model, examples.texts, examples.source)
    if model.directory is None:
        raise ValueError("needs a model that was read from a directory")
    output = read_owner_config(folder).output
    answers = infer(folder, examples.texts, on_progress=on_progress)
    if without_ranges(answers.architecture) != model.architecture:
        raise UserError(f"{model.directory}: the parties serve a model of another architecture; load this one first")
    architecture, reader = model.architecture, read_reader(model.directory)
    sequences = reader.sequences(examples.texts, architecture)
    lengths = [len(sequence) for sequence in sequences]
    logits = logits_of(model, sequences, "the same in plaintext")
    answer = answer_of(architecture)
    plaintext, private = answer.plain(architecture, logits, output), answer.private(answers.predictions)
    wanted = plaintext
    if examples.labels is not None and output in ("label", "logits"):
        wanted = as_wanted(answer.target, reader, examples.texts, examples.labels, architecture.positions)
    differing = np.flatnonzero(~answer.right(private, plaintext))
    errors = [
        float(np.abs(np.subtract(one.logits, own[: len(one.logits)])).max())
        for one, own in zip(answers.predictions, logits, strict=True)
        if one.logits is not None
    ]
    return PrivateEvaluation(
        private=evaluate_answers(architecture, private, wanted, lengths),
        plaintext=evaluate_answers(architecture, plaintext, wanted, lengths),
        agreement=accuracy_of(len(private) - len(differing), len(private)),
        differing=tuple(int(row) for row in differing),
        largest_logit_error=max(errors) if errors else None,
        seconds=sum(request.seconds for request in answers.requests),
        requests=len(answers.requests),
    )
