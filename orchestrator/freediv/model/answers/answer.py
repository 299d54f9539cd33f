"""What every kind of answer says of itself: how it is revealed, read, compared with plaintext, counted and worded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from ...later import Array, jax, jnp
from ..limits import within_limits
from ..stage import Shape

if TYPE_CHECKING:
    from ..architecture import Architecture
    from ..pieces.cut import Cut
    from .measures import Measure

Output = Literal["label", "logits", "order", "threshold"]
"""What a data owner is given: no more than what the model answers, or the numbers that it is taken from; of scores,
their order within a request, or whether they are above a threshold."""

Target = Literal["class", "any classes", "number", "classes of words", "nothing"]
"""What labelled data says of a text; of nothing, a model learns from what another says."""

NO_ANSWER = "no answer"
"""For people, in place of one."""
WITHOUT_ANSWER = "without an answer"
"""For people, of those texts."""


@dataclass(frozen=True)
class Prediction:
    """One text's answer.

    Attributes:
        value: as its kind has it, such as a label's index; None, and `name` says so, where one of the text's rows was
            beyond its limit: the model could be wrong.
        name: for people, on one line.
        shown: for `--json`, by key.
        labels: names of labels that it got, where it is of a kind that has them.
        logits: the numbers that it is taken from, where they were given.
    """

    value: Any
    name: str
    shown: Mapping[str, object] = field(default_factory=dict)
    logits: Any = None
    labels: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether the text got an answer."""
        return self.value is not None

    def entry(self) -> dict[str, object]:
        """For `--json`: None where there is no answer."""
        return dict(self.shown)


@dataclass(frozen=True)
class Words:
    """For people who read a table, a page, or why a checkpoint is refused.

    Attributes:
        kind: of the model's answer.
        one, many: what a text's answer is called, and those of several.
        given: what a data owner is given, by `Output`.
        last_step: what the classifier does with the vectors, by `Output`.
    """

    kind: str
    one: str
    many: str
    given: Mapping[Output, str]
    last_step: Mapping[Output, str]


class Answer(ABC):
    """A kind of answer.

    Logits are what the classifier gives of a text, whatever they stand for: of `logits_shape`. `found` is an array
    [count, ...] of the kind's own, one entry a text, with a value for texts without an answer.

    Attributes:
        name: in the registry.
        ending: of a checkpoint's class name, after the family's.
        problem_type: what the logits stand for, as Hugging Face names it; None: the class alone says it.
        words: for people.
        key: of an answer in JSON.
        labels: the fewest and the most labels that a model has.
        each_piece: whether every row has logits of its own, and not one for the whole text.
        linear: whether the classifier ends in a linear map; else its rows are the answer.
        outputs: what a data owner may be given.
        as_logits: those of them for which logits are revealed as they are.
        target: what data says of a text, to train on and to measure by.
        pipeline, image_pipeline: the task's name on a hub, of texts and of images.
    """

    name: ClassVar[str]
    ending: ClassVar[str]
    problem_type: ClassVar[str | None]
    words: ClassVar[Words]
    key: ClassVar[str]
    labels: ClassVar[tuple[int, int]]
    each_piece: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    outputs: ClassVar[tuple[Output, ...]] = ("label", "logits")
    as_logits: ClassVar[tuple[Output, ...]] = ("logits",)
    target: ClassVar[Target]
    pipeline: ClassVar[str] = "text-classification"
    image_pipeline: ClassVar[str] = "image-classification"

    def check(self, architecture: Architecture) -> None:
        """Refuse what no model of this kind is.

        Raises:
            ValueError: says which key, and why.
        """
        (fewest, most), count = self.labels, architecture.labels
        if not fewest <= count <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise ValueError(f"label_names: a model that answers {self.words.kind} has {wanted}, not {count}")

    def misfit(self, output: Output) -> str | None:
        """Why a cluster with this output must not serve such a model, and what to do; None where it may."""
        if output in self.outputs:
            return None
        return (
            f"the cluster's output is {output}, and the model answers {self.words.kind}: set output: "
            f"{' or '.join(self.outputs)} in the topology and render it again"
        )

    def logits_shape(self, architecture: Architecture, length: int) -> Shape:
        """Of a text's logits, padded to so many word pieces."""
        return (architecture.labels,)

    def shape(self, architecture: Architecture, output: Output, batch: int, length: int) -> Shape:
        """Of what `encode` gives for so many texts, padded to so many word pieces."""
        if output not in self.as_logits:
            return (batch, *self.revealed_shape(architecture, output, length))
        own = self.logits_shape(architecture, length)
        return (batch, math.prod(own) + 1) if architecture.compares else (batch, *own)

    def encode(self, architecture: Architecture, logits: Array, compared: Array, output: Output) -> Array:
        """What is revealed under MPC.

        Where rows have limits, or pixels ranges, there is one value for all with one beyond, whatever else became of
        them, and no other text has it.

        Args:
            architecture: the model.
            logits: [batch, ...], as the last stage gives them.
            compared: [batch, ...], and beside them what `limits.kept` compares; nothing where nothing is.
            output: what is wanted.
        """
        if output not in self.as_logits:
            return self.reveal(architecture, logits, compared, output)
        if not architecture.compares:
            return logits
        flat = logits.reshape(len(logits), -1)
        given = jnp.concatenate([flat, jnp.ones_like(flat[:, :1])], axis=-1)
        return jnp.where(within_limits(architecture, compared)[:, None], given, 0)

    def decode(
        self, architecture: Architecture, values: np.ndarray, output: Output, cuts: Sequence[Cut] = ()
    ) -> list[Prediction]:
        """What `encode` gave, read; `cuts` are the texts in word pieces, which kinds of `each_piece` need.

        Raises:
            ValueError: the model answers no such thing; the message says what, after "the answer".
        """
        if output not in self.as_logits:
            return self.revealed(architecture, np.asarray(values), output, cuts)
        logits = np.asarray(values, np.float64)
        if architecture.compares:
            answered, flat = logits[:, -1:] > 0.5, logits[:, :-1]
            length = flat.shape[1] // max(1, architecture.labels)  # where each piece has its own
            shape = (len(flat), *self.logits_shape(architecture, length))
            logits = np.where(answered, flat, np.nan).reshape(shape)
        return self.read(architecture, logits, cuts)

    def revealed_shape(self, architecture: Architecture, output: Output, length: int) -> Shape:
        """Of what `reveal` gives for one text."""
        raise NotImplementedError

    def reveal(self, architecture: Architecture, logits: Array, compared: Array, output: Output) -> Array:
        """`encode`, for outputs that are not `as_logits`."""
        raise NotImplementedError

    def revealed(
        self, architecture: Architecture, values: np.ndarray, output: Output, cuts: Sequence[Cut]
    ) -> list[Prediction]:
        """`decode`, for outputs that are not `as_logits`."""
        raise NotImplementedError

    @abstractmethod
    def read(self, architecture: Architecture, logits: np.ndarray, cuts: Sequence[Cut] = ()) -> list[Prediction]:
        """What logits say, of plaintext or revealed [count, ...]; no answer where `marked`."""

    @abstractmethod
    def plain(self, architecture: Architecture, logits: np.ndarray, output: Output = "label") -> np.ndarray:
        """`found`, of logits [count, ...] in plaintext, as with this output; without an answer where `marked`, or where
        they are no numbers by themselves.
        """

    @abstractmethod
    def private(self, predictions: Sequence[Prediction]) -> np.ndarray:
        """`found`, as `plain` has it, of what `decode` read."""

    @abstractmethod
    def answered(self, found: np.ndarray) -> np.ndarray:
        """Which texts have an answer, bool [count]."""

    @abstractmethod
    def right(self, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which answers a card counts as right, bool [count]; no answer is not, unless none is wanted."""

    @abstractmethod
    def loss(self, logits: Array, targets: Array, mask: Array) -> Array:
        """What training on data minimises, of each text [batch].

        Args:
            logits: [batch, ...].
            targets: as data has them: [batch], or, where every piece has logits of its own, [batch, length].
            mask: [batch, length], 1 for real word pieces.
        """

    @abstractmethod
    def distance(self, logits: Array, wanted: Array, mask: Array) -> Array:
        """How far logits [batch, ...] are from another model's, of each text [batch]: what distillation minimises."""

    @abstractmethod
    def measures(self, architecture: Architecture) -> tuple[Measure, ...]:
        """How good answers are beside what data says, the first for choosing by."""

    @abstractmethod
    def agreement(self, architecture: Architecture) -> Measure:
        """How alike two models' answers are."""

    @property
    def unanswered(self) -> Prediction:
        """The same for every text with a row beyond its limit."""
        return Prediction(None, NO_ANSWER, {self.key: None})


def marked(logits: Array, within: Array) -> Array:
    """Logits [batch, ...] in plaintext, NaN for texts that are not `within` their limits [batch]."""
    return jnp.where(within.reshape(-1, *(1,) * (logits.ndim - 1)), logits, jnp.nan)


def numbers(values: np.ndarray) -> list[Any]:
    """An array as lists of numbers, for JSON."""
    listed: list[Any] = np.asarray(values, np.float64).tolist()
    return listed


def divergence(logits: Array, wanted: Array) -> Array:
    """Kullback-Leibler, in nats, of the probabilities of logits from those of wanted ones, over the last axis."""
    log_wanted = jax.nn.log_softmax(wanted)
    return jnp.sum(jnp.exp(log_wanted) * (log_wanted - jax.nn.log_softmax(logits)), axis=-1)


def cross_entropy(logits: Array, targets: Array) -> Array:
    """Of classes [...], by the probabilities that logits [..., classes] stand for."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1)[..., 0]


def over(values: Array, counts: Array) -> Array:
    """The mean of values [batch, length] over those that count [batch, length]; 0 where none does."""
    return jnp.sum(jnp.where(counts > 0, values, 0), axis=-1) / jnp.maximum(jnp.sum(counts > 0, axis=-1), 1)
