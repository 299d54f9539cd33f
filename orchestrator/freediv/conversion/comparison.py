"""A student beside its teacher on the same texts: where one alone is right, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import jax.numpy as jnp
import numpy as np
from tokenizers import Encoding, Tokenizer

from ..errors import UserError
from ..transformer import Model, Text
from .accuracy import NO_ANSWER, Accuracy, Evaluation, accuracy_of, evaluate_predictions, labels_of
from .data import Examples
from .evaluation import logits_of
from .losses import divergence
from .pairs import as_read
from .vocabulary import encode, read_tokenizer


@dataclass(frozen=True)
class Comparison:
    """Two models on the same labelled texts.

    Attributes:
        student, teacher: the accuracy of each.
        agreement: how often both give the same label.
        only_student, only_teacher: rows that one has right and the other wrong.
        divergence: mean Kullback-Leibler divergence of the student's probabilities from the teacher's, in nats, over
            the texts that both answer.
    """

    student: Evaluation
    teacher: Evaluation
    agreement: Accuracy
    only_student: int
    only_teacher: int
    divergence: float

    @property
    def chance(self) -> float:
        """How likely two equally accurate models lie at least so far apart on these rows: the exact two-sided test of
        McNemar (1947), on the rows that one alone has right.
        """
        count, fewer = self.only_student + self.only_teacher, min(self.only_student, self.only_teacher)
        ways = tail = 1  # C(count, k), and the sum of those so far
        for k in range(fewer):
            ways = ways * (count - k) // (k + 1)
            tail += ways
        return min(1.0, 2 * tail / 2**count)

    def to_dict(self) -> dict[str, object]:
        """For `--json`."""
        return self.student.to_dict() | {
            "teacher": self.teacher.to_dict(),
            "agreement": asdict(self.agreement),
            "only_student": self.only_student,
            "only_teacher": self.only_teacher,
            "chance": self.chance,
            "divergence": self.divergence,
        }


def compare(student: Model, teacher: Model, examples: Examples) -> Comparison:
    """Run both over the texts as far as the student reads them; both were read from directories with tokenizers.

    Raises:
        UserError: their labels differ, or one reads pairs of texts and the data has single ones.
    """
    if student.architecture.label_names != teacher.architecture.label_names:
        mine, others = (", ".join(model.architecture.label_names) for model in (student, teacher))
        raise UserError(f"--against {teacher.directory}: it knows the labels {others}, {student.directory} {mine}")
    student, teacher = (as_read(model, examples.texts, examples.source) for model in (student, teacher))
    assert student.directory is not None and examples.labels is not None
    tokenizer, limit = read_tokenizer(student.directory), student.architecture.positions
    own = encode(tokenizer, examples.texts, limit)
    same = read_as_far(teacher, tokenizer, examples.texts, limit)
    lengths = [len(sequence) for sequence in own]
    logits, wanted = logits_of(student, own, "the student"), logits_of(teacher, same, "the teacher")
    found, expected = labels_of(logits), labels_of(wanted)
    answered = (found != NO_ANSWER) & (expected != NO_ANSWER)
    right, teacher_right = found == examples.labels, expected == examples.labels
    return Comparison(
        evaluate_predictions(found, examples.labels, lengths),
        evaluate_predictions(expected, examples.labels, lengths),
        accuracy_of(int(np.sum(found == expected)), len(own)),
        int(np.sum(right & ~teacher_right)),
        int(np.sum(teacher_right & ~right)),
        float(divergence(jnp.asarray(wanted[answered]), jnp.asarray(logits[answered])).mean())
        if answered.any()
        else 0.0,
    )


def read_as_far(teacher: Model, tokenizer: Tokenizer, texts: Sequence[Text], length: int) -> list[np.ndarray]:
    """The teacher's word pieces of the texts, which end where a student's tokenizer has `length` pieces of them."""
    assert teacher.directory is not None
    return encode(
        read_tokenizer(teacher.directory), cut_texts(tokenizer, texts, length), teacher.architecture.positions
    )


def cut_texts(tokenizer: Tokenizer, texts: Sequence[Text], length: int) -> list[Text]:
    """The texts, each as far as its first `length` word pieces go, special ones included."""
    tokenizer.enable_truncation(length)
    encoded = tokenizer.encode_batch(list(texts))
    tokenizer.no_truncation()
    return [_cut(text, encoding) for text, encoding in zip(texts, encoded, strict=True)]


def _cut(text: Text, encoding: Encoding) -> Text:
    ends = [0, 0]
    for (_, end), member in zip(encoding.offsets, encoding.sequence_ids, strict=True):
        if member is not None:
            ends[member] = max(ends[member], end)
    return text[: ends[0]] if isinstance(text, str) else (text[0][: ends[0]], text[1][: ends[1]])
