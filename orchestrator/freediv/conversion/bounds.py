"""What no text can exceed: bounds of a folded model's values, from its weights alone.

A row that left a LayerNorm has length sqrt(hidden), whatever went in, and one that has a limit is within it where an
answer is given. From there each stage's values follow by the largest singular values of its weights, so that a bound
holds for every text, hostile ones included, as long as the stages before stay within theirs. Where a bound lies beyond
the ring, nothing is said of the stage: what was measured is all there is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from ..transformer import Architecture, Model, fold, stages
from ..transformer.attention import ATTENTIONS
from ..transformer.limits import LONG
from ..transformer.normalisation import NORMALISATIONS
from .headroom import bits_of

Own = Mapping[str, np.ndarray]
"""A stage's folded parameters."""
_SHRINKING = ("relu", "gelu", "gelu-tanh", "none")
"""Activations g with |g(x)| <= |x|."""


@dataclass(frozen=True)
class _Rows:
    """Rows of at most this length (Euclidean), whose sum is zero if they are `centred`."""

    length: float
    centred: bool


def stage_bounds(model: Model) -> dict[str, float]:
    """By stage, what no text takes the magnitudes beyond that `measure_headroom` looks for; infinite if unknown."""
    architecture = model.architecture
    folded = fold(architecture, model.parameters)
    rows = _Rows(math.inf, False)
    found: dict[str, float] = {}
    limits = iter(np.sqrt(np.asarray(folded["classifier"].get("limits", ()))))
    squares_at_last = 0.0  # of rows, where they are compared with their limits
    for number, stage in enumerate(stages(architecture, folded=True)):
        own = {name: np.asarray(value, np.float64) for name, value in folded[stage.name].items()}
        if stage.block == "embedding":
            largest, length = _embedding(own, model.public_table)
            norm = architecture.embedding_norm
        elif stage.block == "attention":
            assert stage.layer is not None
            functions = architecture.functions[stage.layer]
            largest, length = _attention(architecture, functions.attention, own, rows)
            norm = functions.attention_norm
        elif stage.block == "feed_forward":
            assert stage.layer is not None
            functions = architecture.functions[stage.layer]
            largest, length = _feed_forward(functions.activation, own, rows)
            norm = functions.feed_forward_norm
        else:
            found[stage.name] = max(_classifier(own, rows), squares_at_last)
            break
        rows = _normalised(norm, own, length, architecture.hidden)
        squares = length**2 if NORMALISATIONS[norm].bounds else 0.0
        found[stage.name] = max(largest, length, squares, rows.length)
        if architecture.limited[number]:
            scale = LONG if stage.block == "attention" else 1.0
            beyond = (rows.length / scale) ** 2
            rows = replace(rows, length=min(rows.length, 1.001 * float(next(limits))))  # 1.001: for rounding
            squares_at_last = max(squares_at_last, beyond, rows.length**2)
    return found


def within_the_ring(bound: float) -> bool:
    """Whether a bound proves anything."""
    return bits_of(bound) > 0


def _normalised(norm: str, own: Own, length: float, hidden: int) -> _Rows:
    if norm == "layernorm":
        return _Rows(math.sqrt(hidden) * 1.001, True)  # 1.001: what the root is off by
    first = abs(float(own["norm.first"])) if "norm.first" in own else 1.0
    return _Rows(length * max(1.0, first), norm != "none")


def _embedding(own: Own, public: np.ndarray | None) -> tuple[float, float]:
    """Largest magnitude before the norm, and the length of rows."""
    word = own.get("word", public)
    if word is None:
        return math.inf, math.inf
    rows = word @ own["projection"] if "projection" in own else word
    length = _longest(rows) + _longest(own["position"]) + _longest(own.get("segment", np.zeros((1, 1))))
    return float(np.abs(word).max()), length


def _attention(a: Architecture, name: str, own: Own, rows: _Rows) -> tuple[float, float]:
    if math.isinf(rows.length):
        return math.inf, math.inf
    weight, bias = _reading(own["qkv.weight"], rows), own["qkv.bias"]
    largest = float(np.max(rows.length * np.linalg.norm(weight, axis=0) + np.abs(bias)))
    output = own["output.weight"]
    added = float(np.linalg.norm(own["output.bias"]))
    for head in range(a.heads):
        start = head * a.head_size
        query, key, value = (slice(first + start, first + start + a.head_size) for first in (0, a.hidden, 2 * a.hidden))
        scores = (
            rows.length**2 * _norm_of_product(weight[:, query], weight[:, key].T)
            + rows.length * float(np.linalg.norm(weight[:, query] @ bias[key]))
            + rows.length * float(np.linalg.norm(weight[:, key] @ bias[query]))
            + abs(float(bias[query] @ bias[key] + own.get("shift", np.zeros(a.heads))[head]))
            + float(np.abs(own.get("relative", np.zeros((1, a.heads)))[:, head]).max())
        )
        weights, row_sum = _weighed(name, scores, a.positions)
        values = rows.length * _norm(weight[:, value]) + float(np.linalg.norm(bias[value]))
        own_output = output[start : start + a.head_size]
        # All values point the same way at worst.
        projected = rows.length * _norm_of_product(weight[:, value], own_output) + float(
            np.linalg.norm(bias[value] @ own_output)
        )
        largest = max(largest, scores, weights, row_sum * values)
        added += row_sum * projected
    return largest, _residual(own, rows) + added


def _weighed(name: str, scores: float, positions: int) -> tuple[float, float]:
    """The largest intermediate of an attention function, and its weights' largest row sum, as they meet the values."""
    function = ATTENTIONS[name]
    if function.reads == "mask":
        if not function.sums_to_one:
            return math.inf, math.inf
        return positions * max(1.0, scores**2), 1.0
    top = float(function.weigh(jnp.float32(scores), None))
    # The mask that carries 1 / length makes a mean of what would be a sum.
    return top, top if function.reads == "mask_over_length" else positions * top


def _feed_forward(name: str, own: Own, rows: _Rows) -> tuple[float, float]:
    if math.isinf(rows.length) or (name != "quad" and name not in _SHRINKING):
        return math.inf, math.inf
    weight, bias = _reading(own["intermediate.weight"], rows), own["intermediate.bias"]
    output = own["output.weight"]
    into = float(np.max(rows.length * np.linalg.norm(weight, axis=0) + np.abs(bias)))
    if name == "quad":
        added = min(
            _added_at_most(weight, bias, output, rows.length), _added_by_parts(weight, bias, output, rows.length)
        )
        largest = max(into, into**2)
    else:
        added = (rows.length * _norm(weight) + float(np.linalg.norm(bias))) * _norm(output)
        largest = into
    return largest, _residual(own, rows) + added + float(np.linalg.norm(own["output.bias"]))


def _added_at_most(weight: np.ndarray, bias: np.ndarray, output: np.ndarray, length: float) -> float:
    """|sum of u_i^2 o_i| <= sum of u_i^2 |o_i|, a quadratic form of the row."""
    reach = np.linalg.norm(output, axis=1)
    form, linear = (weight * reach) @ weight.T, 2 * (weight * reach) @ bias
    return length**2 * _norm(form) + length * float(np.linalg.norm(linear)) + float(reach @ bias**2)


def _added_by_parts(weight: np.ndarray, bias: np.ndarray, output: np.ndarray, length: float) -> float:
    """The square of u = y W + b is one of y, a linear part and a constant. The first is a tensor, sum of w_i w_i o_i,
    of which no y gives more than its largest singular value as a matrix [outputs, inputs^2].
    """
    gram = weight.T @ weight
    tensor = math.sqrt(max(0.0, float(np.linalg.eigvalsh(output.T @ (gram**2 @ output))[-1])))
    return length**2 * tensor + length * _norm((2 * weight * bias) @ output) + float(np.linalg.norm(bias**2 @ output))


def _classifier(own: Own, rows: _Rows) -> float:
    if math.isinf(rows.length):
        return math.inf
    largest, length, centred = 0.0, rows.length, rows.centred
    if "pooler.weight" in own:
        weight = _reading(own["pooler.weight"], rows)
        largest = float(np.max(length * np.linalg.norm(weight, axis=0) + np.abs(own["pooler.bias"])))
        length, centred = math.sqrt(weight.shape[1]), False  # of tanh
    weight = _reading(own["weight"], _Rows(length, centred))
    return max(largest, float(np.max(length * np.linalg.norm(weight, axis=0) + np.abs(own["bias"]))))


def _residual(own: Own, rows: _Rows) -> float:
    """How long a row can be that a block adds its result to."""
    if "residual.weight" not in own:
        return rows.length
    kept = np.diag(own["residual.weight"])
    if "residual.mean" in own:
        kept = kept - own["residual.mean"]
    return rows.length * _norm(_reading(kept, rows))


def _reading(weight: np.ndarray, rows: _Rows) -> np.ndarray:
    """A weight without what it makes of a row's mean, where rows have none."""
    return weight - weight.mean(axis=0) if rows.centred else weight


def _norm(matrix: np.ndarray) -> float:
    """The largest singular value."""
    gram = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(gram)[-1])))


def _norm_of_product(x: np.ndarray, y: np.ndarray) -> float:
    """The largest singular value of x [n, k] times y [k, m], for a small k."""
    return math.sqrt(max(0.0, float(np.linalg.eigvals((x.T @ x) @ (y @ y.T)).real.max())))


def _longest(rows: np.ndarray) -> float:
    return float(np.linalg.norm(rows, axis=-1).max())
