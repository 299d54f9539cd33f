"""Who answers an attacker: the model in plaintext, or a deployment that serves it, within its quota."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...cluster.configuration import read_owner_config
from ...conversion.measures.predictions import logits_of
from ...errors import UserError
from ...model import Model, Text, encode, read_tokenizer
from ...model.answers import LABEL, Output
from ...owners.data_owner import PartlyAnswered, Progress, infer
from ...progress import Meter
from ...wire.status import least_left, party_states


@dataclass(frozen=True)
class Answered:
    """What was said of texts, in their order.

    Attributes:
        labels: int [count]; `LABEL.answered` tells which are answers.
        logits: [count, labels], where they are revealed.
    """

    labels: np.ndarray
    logits: np.ndarray | None


@dataclass(frozen=True)
class Oracle:
    """Something that answers.

    Attributes:
        answer: texts; asks about each once.
        limit: how many texts it answers at most; None: any number.
        output: what it reveals.
        about: what it is, for people.
    """

    answer: Callable[[Sequence[Text]], Answered]
    limit: int | None
    output: Output
    about: str


def plain(model: Model, longest: int, output: Output) -> Oracle:
    """The model itself; texts are cut at `longest` pieces."""

    def answer(texts: Sequence[Text]) -> Answered:
        logits = logits_of(model, sequences_of(model, texts, longest), "the model's answers")
        return Answered(LABEL.plain(model.architecture, logits), logits if output == "logits" else None)

    return Oracle(answer, None, output, "the model in plaintext")


def sequences_of(model: Model, texts: Sequence[Text], longest: int) -> list[np.ndarray]:
    """Texts in a model's own word pieces."""
    if model.directory is None:
        raise ValueError("needs a model that was read from a directory")
    architecture = model.architecture
    return encode(read_tokenizer(model.directory), texts, min(longest, architecture.positions), architecture.vocabulary)


def deployed(folder: Path, model: Model) -> Oracle:
    """A running deployment that serves the model, asked as the data owner of this folder.

    Raises:
        UserError: it cannot be asked, or the quota has nothing left.
    """
    config = read_owner_config(folder)
    own = least_left(party_states(config))
    limit = min((quota.left_of_budget for quota in own if quota.left_of_budget is not None), default=None)
    if limit == 0:
        raise UserError(
            f"{folder}: the budget of this data owner is spent: nothing can be asked, which is what it is for"
        )

    def answer(texts: Sequence[Text]) -> Answered:
        with Meter("ask the deployment", 1000) as meter:

            def show(progress: Progress) -> None:
                meter.update(1000 * progress.done // max(1, progress.total))

            try:
                found = infer(folder, texts, on_progress=show, truncate=True)
            except PartlyAnswered as error:
                meter.line(f"asking ended early: {error}")
                found = error.answers
                rows = {row: place for place, row in enumerate(error.rows)}
            else:
                rows = {row: row for row in range(len(texts))}
        if found.architecture != model.architecture:
            raise UserError(f"{folder}: the parties serve another model than the one to compare with; load that one")
        labels = np.full(len(texts), -1)
        for row, place in rows.items():
            labels[row] = LABEL.private(found.predictions[place : place + 1])[0]
        if config.output != "logits":
            return Answered(labels, None)
        logits = np.full((len(texts), model.architecture.labels), np.nan)
        for row, place in rows.items():
            if (told := found.predictions[place].logits) is not None:
                logits[row] = told
        return Answered(labels, logits)

    return Oracle(answer, limit, config.output, f"the parties of {folder}")
