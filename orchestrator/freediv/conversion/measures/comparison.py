"""A student beside its teacher on the same texts: where one alone is right, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from tokenizers import Encoding, Tokenizer

from ...errors import UserError
from ...model import Given, Model, Reader, Text, read_reader
from ...model.answers import Answer, answer_of
from ...model.pieces.tokenizer import reading
from ...model.reading.texts import TextReader, texts_of
from ..texts.examples import Examples
from ..texts.pairing import as_read
from ..texts.targets import as_wanted
from .evaluation import Estimate, Evaluation, estimate, evaluate_answers
from .predictions import logits_of


@dataclass(frozen=True)
class Comparison:
    """Two models on the same texts.

    Attributes:
        student, teacher: how good each is beside what data says; None where it says nothing.
        agreement: how alike their answers are, such as how often both give the same label.
        only_student, only_teacher: rows that one has right and the other wrong; None of answers that are not right or
            wrong.
        divergence: the mean distance of the student's logits from the teacher's, over the texts that both answer: of
            labels Kullback-Leibler's divergence of their probabilities, in nats.
    """

    student: Evaluation | None
    teacher: Evaluation | None
    agreement: Estimate
    only_student: int | None
    only_teacher: int | None
    divergence: float

    @property
    def chance(self) -> float | None:
        """How likely two equally accurate models lie at least so far apart on these rows: the exact two-sided test of
        McNemar (1947), on the rows that one alone has right.
        """
        if self.only_student is None or self.only_teacher is None:
            return None
        count, fewer = self.only_student + self.only_teacher, min(self.only_student, self.only_teacher)
        ways = tail = 1  # C(count, k), and the sum of those so far
        for k in range(fewer):
            ways = ways * (count - k) // (k + 1)
            tail += ways
        return min(1.0, 2 * tail / 2**count)

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        return ({} if self.student is None else self.student.to_dict()) | {
            "teacher": None if self.teacher is None else self.teacher.to_dict(),
            "agreement": self.agreement.to_dict(),
            "only_student": self.only_student,
            "only_teacher": self.only_teacher,
            "chance": self.chance,
            "divergence": self.divergence,
        }


def compare(student: Model, teacher: Model, examples: Examples) -> Comparison:
    """Run both over the texts as far as the student reads them; both were read from directories with tokenizers.

    Raises:
        UserError: their labels or kinds of answers differ, or one reads pairs of texts and the data has single ones.
    """
    answer = require_alike(student, teacher, f"--against {teacher.directory}")
    student, teacher = (as_read(model, examples.texts, examples.source) for model in (student, teacher))
    assert student.directory is not None
    reader, architecture = read_reader(student.directory), student.architecture
    limit = architecture.positions
    own = reader.sequences(examples.texts, architecture)
    same = read_as_far(teacher, reader, examples.texts, limit)
    if answer.each_piece:
        require_same_pieces(own, same, f"--against {teacher.directory}")
    lengths = [len(sequence) for sequence in own]
    logits, wanted = logits_of(student, own, "the student"), logits_of(teacher, same, "the teacher")
    found, expected = (answer.plain(architecture, each) for each in (logits, wanted))
    evaluations: list[Evaluation | None] = [None, None]
    only: list[int | None] = [None, None]
    if examples.labels is not None:
        labels = as_wanted(answer.target, reader, examples.texts, examples.labels, limit)
        evaluations = [evaluate_answers(architecture, each, labels, lengths) for each in (found, expected)]
        if evaluations[0] is not None and evaluations[0].overall.correct is not None:
            right = [answer.right(each, labels) for each in (found, expected)]
            only = [int(np.sum(one & ~other)) for one, other in (right, right[::-1])]
    both = answer.answered(found) & answer.answered(expected)
    return Comparison(
        student=evaluations[0],
        teacher=evaluations[1],
        agreement=estimate(answer.agreement(architecture), found, expected),
        only_student=only[0],
        only_teacher=only[1],
        divergence=_distance(answer, logits[both], wanted[both], [lengths[row] for row in np.flatnonzero(both)]),
    )


def _distance(answer: Answer, logits: np.ndarray, wanted: np.ndarray, lengths: Sequence[int]) -> float:
    if not len(logits):
        return 0.0
    mask = np.arange(logits.shape[1]) < np.array(lengths)[:, None]  # for kinds whose every piece has logits
    found, beside = (jnp.nan_to_num(jnp.asarray(each)) for each in (logits, wanted))
    return float(answer.distance(found, beside, jnp.asarray(mask)).mean())


def require_alike(student: Model, teacher: Model, where: str) -> Answer:
    """What two models answer, if it is the same; `where` the teacher is named.

    Raises:
        UserError: it is not.
    """
    mine, others = (answer_of(model.architecture) for model in (student, teacher))
    if mine is not others:
        raise UserError(f"{where}: it answers {others.words.kind}, {student.directory} {mine.words.kind}")
    own, given = (", ".join(model.architecture.label_names) for model in (student, teacher))
    if own != given:
        raise UserError(f"{where}: it knows the labels {given}, {student.directory} {own}")
    if not mine.linear and student.architecture.hidden != teacher.architecture.hidden:
        widths = [model.architecture.hidden for model in (teacher, student)]
        raise UserError(f"{where}: its vectors have {widths[0]} numbers, those of {student.directory} {widths[1]}")
    return mine


def require_same_pieces(own: Sequence[np.ndarray], others: Sequence[np.ndarray], where: str) -> None:
    """Raises UserError: two models cut a text into other word pieces, so that their labels cannot be laid beside."""
    for number, (one, other) in enumerate(zip(own, others, strict=True), start=1):
        if len(one) != len(other):
            raise UserError(f"{where}: it cuts text {number} into {len(other)} word pieces, the other into {len(one)}")


def read_as_far(teacher: Model, reader: Reader, texts: Sequence[Given], length: int) -> list[np.ndarray]:
    """The teacher's word pieces of the texts, which end where a student's reader has `length` pieces of them; images do
    not.
    """
    assert teacher.directory is not None
    cut: Sequence[Given] = texts
    if isinstance(reader, TextReader):
        cut = cut_texts(reader.tokenizer, texts_of(texts), length)
    return read_reader(teacher.directory).sequences(cut, teacher.architecture)


def cut_texts(tokenizer: Tokenizer, texts: Sequence[Text], length: int) -> list[Text]:
    """The texts, each as far as its first `length` word pieces go, special ones included."""
    tokenizer.enable_truncation(length)
    with reading(texts):
        encoded = tokenizer.encode_batch(list(texts))
    tokenizer.no_truncation()
    return [_cut(text, encoding) for text, encoding in zip(texts, encoded, strict=True)]


def _cut(text: Text, encoding: Encoding) -> Text:
    ends = [0, 0]
    for (_, end), member in zip(encoding.offsets, encoding.sequence_ids, strict=True):
        if member is not None:
            ends[member] = max(ends[member], end)
    return text[: ends[0]] if isinstance(text, str) else (text[0][: ends[0]], text[1][: ends[1]])
