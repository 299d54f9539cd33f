"""Continuous queries: what a data owner learns who sends numbers in place of word pieces.

Parties compute with whatever numbers are shared as rows, or as one-hots. So an owner may ask about a point between two
texts a and b, (1 - t) a + t b, and by bisection about the t where the label turns: a point of the boundary itself, to
as many bits as are asked for, which texts do not give, of which there are only so many. That points of the boundary
make up for hard labels: Lowd and Meek, "Adversarial learning", KDD 2005; Tramer et al., USENIX Security 2016, 6.

Here a quarter of the queries are texts. Pairs of them of one length and unlike labels are bisected with the others, and
a student learns from all. Where parties insist that every piece is one word piece, none of this is answered; whether a
deployment does is shown by trying.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ...conversion.training.dropout import RandomDropout
from ...conversion.training.phase import Loss
from ...model import Architecture, Model, Parameters, forward
from ...model.answers import LABEL
from ...model.pieces.pairs import second_text
from ..finding import Finding, columns
from .extraction import Compared, Learned
from .oracle import sequences_of
from .points import STEPS, Asking, spend
from .sent_numbers import Tried
from .student import Attacker, Lessons
from .texts import Texts


def loss_of_points(architecture: Architecture) -> Loss:
    """Mean cross-entropy of labels of points. Pieces of both texts alternate; targets are the label and t."""

    def loss(parameters: Parameters, constants: None, batch: Mapping[str, jax.Array], key: jax.Array) -> jax.Array:
        first, second = batch["token_ids"][:, 0::2], batch["token_ids"][:, 1::2]
        labels, t = batch["targets"][:, 0].astype(jnp.int32), batch["targets"][:, 1]
        word = parameters["embedding"]["word"]
        mask, weight = batch["mask"][:, 0::2], t[:, None, None]
        rows = (1 - weight) * word[first] + weight * word[second]
        inputs = {"rows": rows * mask[..., None], "mask": mask}
        if architecture.separator_token is not None and architecture.reads_segments:
            own, other = (second_text(x, architecture.separator_token) for x in (first, second))
            inputs["segment"] = (1 - t[:, None]) * own + t[:, None] * other
        logits = forward(architecture, parameters, inputs, dropout=RandomDropout(key))
        each = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
        return (each * batch["weight"]).sum() / batch["weight"].sum()

    return loss


def run(
    model: Model,
    attacker: Attacker,
    texts: Texts,
    beside: Compared,
    *,
    sizes: Sequence[int],
    seed: int,
    learned: Sequence[Learned] = (),
    tried: Tried | None = None,
) -> Finding:
    """Ask about points, learn and compare.

    Args:
        model: the user's, asked in plaintext.
        attacker: whose student it is; it reads the model's own pieces.
        texts: that points lie between.
        beside: texts to compare on.
        sizes: numbers of queries.
        seed: of pairs and trainings.
        learned: what the same student learned from as many texts.
        tried: what came of one such query to a running deployment.
    """
    sequences = sequences_of(model, texts.queries, attacker.longest)
    asking = Asking(model)
    architecture = attacker.start.architecture
    lengths = [2 * len(sequence) for sequence in sequences]
    lessons = Lessons(attacker, lengths, loss_of_points(architecture), "continuous", seed)
    found, between = [], []
    for size in sorted({min(size, len(sequences)) for size in sizes}):
        points = spend(asking, sequences, size, seed)
        kept = np.flatnonzero(LABEL.answered(points.labels))
        both = [np.stack([points.first[row], points.second[row]], axis=1).reshape(-1) for row in kept]
        targets = np.stack([points.labels[kept], points.t[kept]], axis=1).astype(np.float32)
        found.append(Learned(size, beside.agreement(lessons.learn(both, targets))))
        between.append(int((points.t > 0).sum()))
    return _finding(attacker, beside, found, between, learned, tried)


def _finding(
    attacker: Attacker,
    beside: Compared,
    found: Sequence[Learned],
    between: Sequence[int],
    learned: Sequence[Learned],
    tried: Tried | None,
) -> Finding:
    of_texts = {one.queries: one.agreement for one in learned}
    rows = [
        (f"{one.queries:,}", f"{number:,}", one.agreement, of_texts.get(one.queries, "not asked"))
        for one, number in zip(found, between, strict=True)
    ]
    both = [(one.agreement, of_texts[one.queries]) for one in found if one.queries in of_texts]
    better = sum(numbers.low > texts.high for numbers, texts in both)
    lines = [
        f"Numbers taught more than as many texts, beyond what chance explains, in {better} of {len(both)} cases."
        if both
        else "Beside texts where --attack extraction asks for labels in plaintext, with the same student.",
        "Whether a deployment answers such queries is shown by trying one: --through DIR.",
    ]
    if tried is not None:
        lines[1] = f"{tried.folder} {'ANSWERED one such query.' if tried.answered else f'refused: {tried.told}'}"
    return Finding(
        name="continuous",
        title="Continuous queries: numbers in place of word pieces",
        source="Lowd and Meek, KDD 2005; Tramer et al., USENIX Security 2016",
        tried=f"A quarter of the queries were texts; between them bisection led to the boundary, to {STEPS} bits. The "
        f"student ({attacker.about}) was compared on the same {len(beside.labels):,} texts.",
        header=("queries", "between texts", "gives the model's label", "from as many texts"),
        rows=columns(rows),
        lines=tuple(lines),
        advice="Keep `lookup: points`, with which parties run nothing but texts of word pieces; where only `rows` "
        "can be had, a quota counts these queries like others.",
        measured={
            "learned": [one.to_dict() | {"between": number} for one, number in zip(found, between, strict=True)],
            "deployment": None if tried is None else {"answered": tried.answered, "told": tried.told},
        },
    )
