"""Extraction by asking: a student of the attacker's learns a model's answers to texts of the attacker's own.

Tramer et al., "Stealing machine learning models via prediction APIs", USENIX Security 2016; for Transformers Krishna et
al., "Thieves on Sesame Street!", ICLR 2020, where random words do nearly as well as texts. Nothing is attacked that was
not meant to be given: every answer tells something, under MPC as anywhere.

A student begins as `student` says, is trained on the answers to ever more texts, and compared with the model on texts
that it did not ask about. Beside it stands what the attacker has without asking: the most common label, and where the
texts come with labels, the same student trained on those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...conversion.measures.evaluation import Estimate, accuracy_of
from ...conversion.measures.predictions import answers_of
from ...model import Model
from ...model.answers import LABEL
from ..finding import Finding, columns
from .oracle import Answered, Oracle
from .student import Attacker, Lessons, loss_of_texts
from .texts import Texts


@dataclass(frozen=True)
class Compared:
    """Texts that nobody asked about, as the attacker's student reads them, and the model's labels of them."""

    sequences: Sequence[np.ndarray]
    labels: np.ndarray

    @property
    def most_common(self) -> Estimate:
        """How often the label is the one that most have."""
        return accuracy_of(int(np.unique(self.labels, return_counts=True)[1].max()), len(self.labels))

    def agreement(self, student: Model) -> Estimate:
        """How often a student gives the model's label."""
        found = answers_of(student, self.sequences, "compare")
        return accuracy_of(int(LABEL.right(found, self.labels).sum()), len(self.labels))


def compared(attacker: Attacker, texts: Texts, model_answers: Answered) -> Compared:
    """The texts held out, without those that the model does not answer."""
    kept = np.flatnonzero(LABEL.answered(model_answers.labels))
    return Compared(attacker.read([texts.held_out[row] for row in kept]), model_answers.labels[kept])


@dataclass(frozen=True)
class Learned:
    """How often a student gives the model's label after so many queries."""

    queries: int
    agreement: Estimate

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        own = self.agreement
        return {"queries": self.queries, "agreement": own.value, "interval": [own.low, own.high]}


def sizes_within(sizes: Sequence[int], limit: int) -> list[int]:
    """The numbers of queries that can be asked, the limit itself in place of those beyond."""
    return sorted({min(size, limit) for size in sizes})


def run(
    attacker: Attacker, oracle: Oracle, texts: Texts, beside: Compared, *, sizes: Sequence[int], seed: int
) -> tuple[Finding, list[Learned]]:
    """Ask, learn and compare; what a student learned of how many queries stands beside the finding.

    Args:
        attacker: whose student it is.
        oracle: what is asked.
        texts: to ask about.
        beside: texts to compare on.
        sizes: numbers of queries; cut to what the texts and the oracle give.
        seed: of trainings.
    """
    limits = [len(texts.queries), *([] if oracle.limit is None else [oracle.limit])]
    sizes = sizes_within(sizes, min(limits))
    answered = oracle.answer(texts.queries[: sizes[-1]])
    usable = LABEL.answered(answered.labels)
    sequences = attacker.read(texts.queries[: sizes[-1]])
    lengths = [len(sequence) for sequence in sequences]
    loss = loss_of_texts(attacker, logits=answered.logits is not None)
    lessons = Lessons(attacker, lengths, loss, "extraction", seed)
    targets = answered.labels.astype(np.int32) if answered.logits is None else answered.logits.astype(np.float32)
    found = []
    for size in sizes:
        rows = np.flatnonzero(usable[:size])
        student = lessons.learn([sequences[row] for row in rows], targets[rows]) if len(rows) else attacker.start
        found.append(Learned(size, beside.agreement(student)))
    own = None
    if texts.labels is not None:
        learner = lessons
        if answered.logits is not None:
            learner = Lessons(attacker, lengths, loss_of_texts(attacker, logits=False), "own labels", seed)
        taught = learner.learn(sequences, texts.labels[: sizes[-1]].astype(np.int32))
        own = Learned(sizes[-1], beside.agreement(taught))
    return _finding(attacker, oracle, texts, beside, found, own, int((~usable).sum())), found


def _finding(
    attacker: Attacker,
    oracle: Oracle,
    texts: Texts,
    beside: Compared,
    found: Sequence[Learned],
    own: Learned | None,
    unanswered: int,
) -> Finding:
    rows: list[tuple[object, ...]] = [("without asking: the most common label", "0", beside.most_common)]
    if own is not None:
        rows.append((f"without asking: own labels of {own.queries:,} texts", "0", own.agreement))
    rows += [(f"the model's {oracle.output}", f"{one.queries:,}", one.agreement) for one in found]
    lines = [f"{unanswered:,} queries had no answer, and counted."] if unanswered else []
    if oracle.limit is not None:
        lines.append(f"The budget of this data owner lets it ask about {oracle.limit:,} texts of this model.")
    without = max((beside.most_common, *((own.agreement,) if own else ())), key=lambda one: one.value)
    gains = [one for one in found if one.agreement.low > without.value]
    advice = (
        f"From {gains[0].queries:,} queries on a copy is better than what an attacker has anyway: set `quota: budget` "
        "below that where this matters, reveal labels and not logits, give certificates to data owners whom you know."
        if gains
        else "So many queries tell this attacker nothing that they did not have; one with a better student, or texts "
        "like those that the model is for, would learn more: try `--student` and `--texts`, and set a `quota`."
    )
    return Finding(
        name="extraction",
        title="Extraction by asking",
        source="Tramer et al., USENIX Security 2016; Krishna et al., ICLR 2020",
        tried=f"A student ({attacker.about}) learned from the answers of {oracle.about} to {texts.source}, and was "
        f"compared with the model on {len(beside.labels):,} others.",
        header=("what it learned from", "queries", "gives the model's label"),
        rows=columns(rows),
        lines=tuple(lines),
        advice=advice,
        measured={
            "student": attacker.about,
            "texts": texts.source,
            "output": oracle.output,
            "compared": len(beside.labels),
            "without_asking": {
                "most_common_label": beside.most_common.value,
                "own_labels": None if own is None else own.to_dict(),
            },
            "learned": [one.to_dict() for one in found],
            "without_answer": unanswered,
            "limit": oracle.limit,
        },
    )
