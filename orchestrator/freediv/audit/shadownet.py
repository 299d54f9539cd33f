"""Masked weights on an accelerator, as ShadowNet hands them out, and what the accelerator makes of them.

ShadowNet (Sun et al., IEEE S&P 2023, arXiv 2011.05905) keeps a model in a trusted enclave and has an accelerator, which
nobody trusts, multiply by its linear layers. Of a layer's N filters w_j (rows here, [outputs, inputs]) and M - N random
ones f ~ N(0, 1), M = floor(r N), r = 1.2, the accelerator is given, in a random order p,
    w'_p(j) = (w_j - f_r(j)) / s_j,  s_j ~ U(0, 1),    and the f themselves;
the enclave restores y_j = s_j y'_p(j) + y'_p(f_r(j)). Biases, norms and activations stay inside.

**The attack** (reconstructed from descriptions of Zhang et al., "No Privacy Left Outside", IEEE S&P 2024, and of
ArrowMatch, USENIX Security 2025). A trained weight is far smaller than N(0, 1), so w' points nearly against its f: the
row at the smallest cosine is its partner, which finds all assignments. Two that share an f lie along each other, and an
f lies along nobody; where a w' is alone with its f, the shorter of both is f, because s < 1. The scale is the
projection s = -<f, w'> / |w'|^2, and f + s w' the filter, but for its part along w': of a filter of unlike numbers
about one part in the root of its inputs.

**What is assumed**: that the attacker knows which of a layer's outputs each filter belongs to, as they are handed out
shuffled. The published attacks read that off the public model that was tuned: where one is given, `match_order` does,
and the copy has the order that it finds.

Beside it the same layer in replicated shares, of which a party's view is uniform, and the same attack on that view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jax.scipy.stats import chi2

from ..errors import UserError
from ..model import Model
from ..model.checkpoints.tensors import NumpyParameters
from ..mpc.sharing.shares import SEED_BYTES, share
from ..progress import Meter
from .agreement import Asked, agreement
from .finding import Finding, columns, percent

RATIO = 1.2
"""Filters that are handed out, over filters that there are."""
_AGAINST = 0.5
"""Cosines beyond which rows point along or against each other; of independent rows they are about sqrt(1 / inputs)."""
_BATCH = 2048


@dataclass(frozen=True)
class Masked:
    """A layer as its enclave made it.

    Attributes:
        view: what the accelerator is given, [M, inputs].
        place: where each filter went, [N].
        mask: where the random filter that was taken off it went, [N].
        scale: what each was divided by, [N].
    """

    view: np.ndarray
    place: np.ndarray
    mask: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Stolen:
    """What the attack makes of a view.

    Attributes:
        weights: for each row of the view a filter, [M, inputs]; of those that are taken for masks, zeros.
        mask: the row that is taken for its mask, [M]; -1 of masks themselves.
    """

    weights: np.ndarray
    mask: np.ndarray


def transform(filters: np.ndarray, seed: Sequence[int], ratio: float = RATIO) -> Masked:
    """ShadowNet's transform of filters [N, inputs]."""
    random = np.random.default_rng(seed)
    count, inputs = filters.shape
    handed = max(count + 1, int(ratio * count))
    masks = random.normal(0.0, 1.0, (handed - count, inputs))
    chosen = random.integers(0, len(masks), count)
    scale = 1.0 - random.random(count)  # in (0, 1]: nothing is divided by 0
    rows = np.concatenate([(filters - masks[chosen]) / scale[:, None], masks])
    order = random.permutation(handed)
    view, places = np.empty_like(rows, np.float32), np.empty(handed, np.int64)
    view[order], places = rows, order
    return Masked(view, places[:count], places[count + chosen], scale)


def attack(view: np.ndarray) -> Stolen:
    """Filters out of what an accelerator sees, [M, inputs]; it needs nothing else."""
    lengths = np.linalg.norm(view, axis=1)
    unit = view / np.maximum(lengths, 1e-30)[:, None]
    partner, against, along = (np.empty(len(view), np.int64) for _ in range(3))
    for start in range(0, len(view), _BATCH):
        cosines = unit[start : start + _BATCH] @ unit.T
        span = slice(start, start + len(cosines))
        partner[span] = cosines.argmin(axis=1)
        against[span] = (cosines < -_AGAINST).sum(axis=1)
        along[span] = (cosines > _AGAINST).sum(axis=1) - 1
    alone = (against == 1) & (along == 0)
    is_mask = (against == 0) | (against > 1) | (alone & (lengths < lengths[partner]))
    f = view[partner]
    scale = -np.einsum("ij,ij->i", f, view) / np.maximum(lengths, 1e-30) ** 2
    weights = np.where(is_mask[:, None], 0, f + scale[:, None] * view)
    return Stolen(weights, np.where(is_mask, -1, partner))


def match_order(stolen: np.ndarray, public: np.ndarray) -> np.ndarray:
    """For each filter of a public model, the row of what was stolen that lies along it most, [N]."""
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30) for rows in (public, stolen)]
    return np.concatenate([(unit[0][i : i + _BATCH] @ unit[1].T).argmax(axis=1) for i in range(0, len(public), _BATCH)])


def replicated_view(filters: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """What one party of three holds of filters, uint64 [2, N, inputs]; its keys come of a seed here."""
    random = np.random.default_rng((*seed, 1))
    return np.stack(share(filters, seeds=[random.bytes(SEED_BYTES) for _ in range(2)])[0].words())


def uniformity(words: np.ndarray) -> float:
    """The probability that uniform bytes are as uneven as those of `words` (Pearson's chi-square, 255 degrees)."""
    seen = np.bincount(np.ascontiguousarray(words).view(np.uint8).reshape(-1), minlength=256)
    expected = seen.sum() / 256
    return float(chi2.sf(((seen - expected) ** 2 / expected).sum(), 255))


def linear_maps(model: Model) -> Iterator[tuple[str, str]]:
    """The linear layers of an encoder, which an accelerator would be given: stage and parameter."""
    for stage, own in model.parameters.items():
        if stage not in ("embedding", "classifier"):
            yield from ((stage, name) for name in own if name.endswith(".weight") and own[name].ndim == 2)


@dataclass
class _Layer:
    """What became of one layer, or of several."""

    assigned: list[float]
    error: list[float]
    ordered: list[float]

    @classmethod
    def of(cls, filters: np.ndarray, masked: Masked, stolen: Stolen, order: np.ndarray | None) -> _Layer:
        assigned = float((stolen.mask[masked.place] == masked.mask).mean())
        ordered = [] if order is None else [float((order == masked.place).mean())]
        return cls([assigned], [relative_error(stolen.weights[masked.place], filters)], ordered)

    def extend(self, others: _Layer) -> None:
        """Take in what became of others."""
        self.assigned += others.assigned
        self.error += others.error
        self.ordered += others.ordered


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The mean over rows of |found - wanted| / |wanted|."""
    lengths = np.maximum(np.linalg.norm(wanted, axis=1), 1e-30)
    return float((np.linalg.norm(found - wanted, axis=1) / lengths).mean())


def run(model: Model, asked: Asked, *, seed: int, published: Model | None = None) -> Finding:
    """Mask all linear layers of an encoder, attack what the accelerator sees, and put the stolen copy beside the model.

    Args:
        model: the user's.
        asked: texts that copies are compared on.
        seed: of masks, scales and orders.
        published: the model that it was tuned from, to find the order of outputs by.

    Raises:
        UserError: the model has no encoder, or the published one is of other shapes.
    """
    maps = list(linear_maps(model))
    if not maps:
        raise UserError("shadownet: the model has no linear layers between embedding and classifier")
    copies: dict[str, NumpyParameters] = {
        name: {stage: dict(own) for stage, own in model.parameters.items()} for name in ("masked", "replicated")
    }
    kinds: dict[str, _Layer] = {}
    p_values, errors = [], []
    with Meter("shadownet: layers", len(maps)) as meter:
        for number, (stage, name) in enumerate(maps):
            filters = np.asarray(model.parameters[stage][name], np.float64).T
            public = None if published is None else _filters_of(published, stage, name, filters.shape)
            masked = transform(filters, (seed, number))
            stolen = attack(masked.view)
            order = None if public is None else match_order(stolen.weights, public)
            found = _Layer.of(filters, masked, stolen, order)
            kind = kinds.setdefault(f"{stage.split('.')[-1]} {name.removesuffix('.weight')}", _Layer([], [], []))
            kind.extend(found)
            copies["masked"][stage][name] = stolen.weights[masked.place if order is None else order].T.astype(
                np.float32
            )
            words = replicated_view(filters, (seed, number))
            p_values.append(uniformity(words))
            guess = _as_weights(words[0], filters.std())
            errors.append(relative_error(guess, filters))
            copies["replicated"][stage][name] = guess.T.astype(np.float32)
            meter.update(number + 1)
    same = {name: agreement(replace(model, parameters=own), asked, f"{name} copy") for name, own in copies.items()}
    return _finding(kinds, same, p_values, errors, published is not None, asked)


def _filters_of(published: Model, stage: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    weight = published.parameters.get(stage, {}).get(name)
    if weight is None or weight.T.shape != shape:
        raise UserError(
            f"--published: its {stage}/{name} is not of the model's shape; give what the model was tuned from"
        )
    return np.asarray(weight, np.float64).T


def _as_weights(words: np.ndarray, spread: float) -> np.ndarray:
    """A word of a share read as the number that it looks like, at the scale that weights have."""
    signed = words.view(np.int64).astype(np.float64)
    return signed * (spread / signed.std())


def _finding(
    kinds: dict[str, _Layer],
    same: dict[str, float],
    p_values: list[float],
    errors: list[float],
    ordered: bool,
    asked: Asked,
) -> Finding:
    header = ("layers", "assignments found", "error of weights", *(("order found",) if ordered else ()))
    rows = [
        (kind, *(percent(float(np.mean(found))) for found in vars(own).values() if found))
        for kind, own in kinds.items()
    ]
    every = _Layer([], [], [])
    for own in kinds.values():
        every.extend(own)
    lowest, low = min(p_values), sum(p < 0.01 for p in p_values)
    measured: dict[str, object] = {
        "layers": len(p_values),
        "assignments_found": float(np.mean(every.assigned)),
        "weight_error": float(np.mean(every.error)),
        "order_found": float(np.mean(every.ordered)) if ordered else None,
        "agreement": same["masked"],
        "replicated": {"weight_error": float(np.mean(errors)), "agreement": same["replicated"], "p_values": p_values},
        "texts": len(asked),
        "most_common_label": asked.most_common,
    }
    order = (
        "Which output a filter belongs to was read off the published model"
        if ordered
        else "Which output a filter belongs to is assumed to be known, as attackers read it off the model that this "
        "one was tuned from: give that with --published"
    )
    return Finding(
        name="shadownet",
        title="Masked weights on an accelerator",
        source="ShadowNet: Sun et al., IEEE S&P 2023; attacks: Zhang et al., IEEE S&P 2024, reconstructed",
        tried=f"All {len(p_values)} linear layers were masked as ShadowNet masks them, and what the accelerator sees "
        f"was attacked by cosines. {order}. All else of the copy is the model's.",
        header=header,
        rows=columns(rows),
        lines=(
            f"The stolen copy gives the model's label for {percent(same['masked'])} of {len(asked):,} texts "
            f"(always the most common one: {percent(asked.most_common)}).",
            "Replicated shares of the same layers, as one party sees them: error of weights "
            f"{percent(float(np.mean(errors)))}, the copy's agreement {percent(same['replicated'])}. Its bytes are "
            f"uniform: of {len(p_values)} chi-square tests {low} lie below 0.01, the lowest at {lowest:.2g}.",
        ),
        advice="Take masked weights for weights that are shown. Shares are not concerned: a party that holds two words "
        "of three sees uniform numbers.",
        measured=measured,
    )
