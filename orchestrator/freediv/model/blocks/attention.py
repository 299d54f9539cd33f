"""Attention: rows weighed by their likeness to each other, head by head."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import ClassVar

import numpy as np

from ...later import Array, jitted, jnp
from ..architecture import Architecture, LayerSizes
from ..functions.attention import ATTENTIONS
from ..functions.constant import Constant
from ..functions.dropping import Dropping
from ..functions.norms import Observe, ignore
from ..functions.pooling import of_pooled, pieces_a_row, rows_left
from ..functions.relative import score_bias
from ..functions.rotary import turned
from ..functions.singular_values import spectral_norm, spectral_norm_of_product
from ..precision import multiply
from ..stage import Dropout, Shape, keep
from .block import (
    UNKNOWN,
    Folded,
    Own,
    Rows,
    as_read,
    constants_of,
    dense,
    largest_product,
    take_constants,
)
from .residual import ResidualBlock


@jitted
def multiply_heads(x: Array, y: Array) -> Array:
    """x [batch, heads, n, k] times y [batch, heads, k, m]. By its name an engine knows it, and may lay it out anew."""
    return multiply(x, y)


class Attention(ResidualBlock):
    """Self-attention of one layer, with its norm.

    Attributes:
        scores_all: whether scores take the queries of all rows, also where it leaves fewer.
    """

    kind = "attention"
    reading = "qkv"
    scores_all: ClassVar[bool] = False

    def __init__(self, architecture: Architecture, layer: int, before: str) -> None:
        functions = architecture.functions[layer]
        super().__init__(architecture, layer, before, functions.attention_norm)
        self.function = ATTENTIONS[functions.attention]
        window, rotary = architecture.window, architecture.rotary
        self.window = window if window is not None and window.on(layer) else None
        self.turns = None if rotary is None else rotary.base(self.window is not None)
        self.heads = architecture.heads_of(layer)
        self.inner = self.heads * architecture.head_size
        self.apart = pieces_a_row(self.pools)
        keep_share, patches = architecture.size_of(layer).keep, architecture.patches
        self.drop = None if keep_share is None or patches is None else Dropping(keep_share, patches.tokens)

    @property
    def width(self) -> int:
        """Scores are divided by the root of it."""
        return self.architecture.head_size

    @property
    def shares_length(self) -> bool:
        """Whether weights have 1 / L in common, and no mask carries it, as all texts are equally long."""
        return self.function.reads == "mask_over_length" and not self.architecture.padded

    def inputs(self) -> tuple[str, ...]:
        if self.function.reads == "nothing" or not self.architecture.padded:
            return ("hidden",)
        nearby = self.window is not None and self.function.reads == "mask_over_length"
        return ("hidden", "mask_over_window" if nearby else of_pooled(self.function.reads, self.pools))

    def shapes(self, folded: bool) -> dict[str, Shape]:
        a, inner = self.architecture, self.inner
        shapes: dict[str, Shape] = {
            "qkv.weight": (a.hidden, 3 * inner),
            "qkv.bias": (3 * inner,),
            "output.weight": (inner, a.hidden),
            "output.bias": (a.hidden,),
        }
        if a.relative_buckets:
            shapes["relative"] = (a.relative_buckets, self.heads)
        elif folded and self.function.shifts:
            shapes["shift"] = (self.heads,)
        return shapes | self.residual_shapes() if folded else shapes

    def constants(self) -> Iterator[tuple[str, Constant, Shape]]:
        for name, constant in self.function.constants.items():
            yield f"constants.{name}", constant, (self.heads,)
        yield from super().constants()

    def variant(self) -> tuple[Hashable, ...]:
        places = (self.turns, self.window, self.drop)
        return (self.function.name, self.heads, self.architecture.row_limits, *places, *super().variant())

    def apply(
        self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout = keep, observe: Observe = ignore
    ) -> Array:
        if self.drop is None:
            return super().apply(folded, p, *inputs, dropout=dropout, observe=observe)
        seen: dict[str, Array] = {}

        def see(name: str, value: Array) -> None:
            seen[name] = value
            observe(name, value)

        left = super().apply(folded, p, *inputs, dropout=dropout, observe=see)
        return self.drop.apply(left, seen["weights"])

    def branch(self, folded: bool, p: Mapping[str, Array], *inputs: Array, dropout: Dropout, observe: Observe) -> Array:
        a, function = self.architecture, self.function
        hidden, *masks = inputs
        batch, length, _ = hidden.shape
        qkv = dense(hidden, p["qkv.weight"], p["qkv.bias"])
        observe("qkv", qkv)
        query, key, value = jnp.split(qkv, 3, axis=-1)
        if function.reads == "mask_over_length" and masks:
            # Without a row sum, the mask may as well lie on the value rows: length x hidden, not heads x length^2.
            value = value * masks[0][..., None]
        elif function.reads == "mask_over_length" and not folded:
            value = value / length

        def split(x: Array) -> Array:
            return x.reshape(batch, x.shape[1], self.heads, a.head_size).transpose(0, 2, 1, 3)

        if self.turns is not None:
            both = qkv[..., : 2 * self.inner].reshape(batch, length, 2 * self.heads, a.head_size)
            both = turned(both, self.turns, self.apart)
            query, key = jnp.split(both.reshape(batch, length, 2 * self.inner), 2, axis=-1)
            observe("turned", both)
        asking = self.left(folded, query)
        asked = asking.shape[1]
        x = self.scores(folded, p, split(query if self.scores_all else asking), split(key).swapaxes(-1, -2))
        x = x[:, :, :asked]
        shift: Array | float | None = p.get("shift")
        if not folded:
            scale, shift = function.affine(constants_of(p), self.width)
            x = x * jnp.reshape(jnp.asarray(scale), (-1, 1, 1))
        if shift is not None:
            x = x + jnp.reshape(jnp.asarray(shift), (-1, 1, 1))
        if a.row_limits and function.sees_hidden:
            x = x * masks[0][:, None, None, :]  # rows that do not count have no limit, and leave no trace
        observe("scores", x)
        if function.reads == "mask" and masks:
            weights = function.weigh(x, masks[0] if self.window is None else self.window.seen(masks[0])[..., :asked, :])
        else:
            weights = function.weigh(x, None)
            if self.window is not None:
                weights = weights * jnp.asarray(self.window.near(length)[:asked])
        observe("weights", weights)
        context = multiply_heads(dropout("weights", weights), split(value)).transpose(0, 2, 1, 3)
        context = context.reshape(batch, asked, self.inner)
        observe("context", context)
        return dropout("output", dense(context, p["output.weight"], p["output.bias"]))

    @property
    def units(self) -> int:
        return self.heads

    def units_in(self, sizes: LayerSizes) -> int:
        return sizes.heads or self.heads

    @property
    def holds(self) -> str:
        return "context"

    def columns_of(self, heads: np.ndarray) -> np.ndarray:
        """The columns of these heads, among those of all."""
        size = self.architecture.head_size
        return np.concatenate([np.arange(head * size, (head + 1) * size) for head in heads])

    def keeping(self, own: Mapping[str, np.ndarray], units: np.ndarray) -> dict[str, np.ndarray]:
        columns, found = self.columns_of(units), dict(own)
        for name in ("qkv.weight", "qkv.bias"):
            if name in own:
                found[name] = own[name][..., np.concatenate([part * self.inner + columns for part in range(3)])]
        found["output.weight"] = own["output.weight"][columns]
        of_heads = [name for name in own if name == "relative" or name.startswith("constants.")]
        return found | {name: own[name][..., units] for name in of_heads}

    def scores(self, folded: bool, p: Mapping[str, Array], query: Array, key: Array) -> Array:
        """Scores [batch, heads, asked, length] before scale and shift, of query [batch, heads, asked, head_size], which
        is of all rows where it `scores_all`, and key [batch, heads, head_size, length].
        """
        x = multiply_heads(query, key)
        if "relative" in p:
            bias = score_bias(p["relative"], key.shape[3], self.apart)[:, : query.shape[2]]
            x = x + bias * (1 if folded else self.width**0.5)
        return x

    def scale(self, own: Own, columns: Array) -> None:
        """Multiply what scores are made of, for queries as for keys, by [heads * head_size]."""
        all_columns = jnp.concatenate([columns, columns, jnp.ones_like(columns)])
        own["qkv.weight"] = own["qkv.weight"] * all_columns
        own["qkv.bias"] = own["qkv.bias"] * all_columns

    def fold_constants(self, own: Own) -> Own:
        """The scores' scale, half into the query weights and half into the key weights, so that neither loses bits; and
        1 / L, where it is the same for all, half into the value weights and half into those after.
        """
        a = self.architecture
        scale, shift = self.function.affine(take_constants(own), self.width)
        half = jnp.sqrt(jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (self.heads,)))
        self.scale(own, jnp.repeat(half, a.head_size))
        if self.shares_length:
            root = a.positions**-0.5
            columns = jnp.repeat(jnp.array([1.0, 1.0, root]), self.inner)
            own |= {name: own[name] * columns for name in ("qkv.weight", "qkv.bias")}
            own["output.weight"] = own["output.weight"] * root
        if "relative" in own:  # of the scores after 1 / sqrt(d), and it takes up the shift
            own["relative"] = own["relative"] * half**2 * self.width**0.5
            if shift is not None:
                own["relative"] = own["relative"] + jnp.asarray(shift, jnp.float32)
        elif shift is not None:
            own["shift"] = jnp.broadcast_to(jnp.asarray(shift, jnp.float32), (self.heads,))
        return own

    def position_bound(self, own: Folded, rows: Rows, head: int) -> float:
        """The most that places add to a head's scores."""
        return float(np.abs(own["relative"][:, head]).max()) if "relative" in own else 0.0

    def branch_bound(self, own: Folded, rows: Rows) -> tuple[float, float]:
        a, bound = self.architecture, self.function.bound
        if bound is None or math.isinf(rows.length):
            return UNKNOWN
        weight, bias = as_read(own["qkv.weight"], rows), own["qkv.bias"]
        largest = largest_product(weight, bias, rows.length)
        output = own["output.weight"]
        added = float(np.linalg.norm(own["output.bias"]))
        positions = rows_left(self.pools, a.positions)
        for head in range(self.heads):
            start, stop = head * a.head_size, (head + 1) * a.head_size
            query, key, value = (slice(part + start, part + stop) for part in range(0, 3 * self.inner, self.inner))
            shift = float(own.get("shift", np.zeros(self.heads))[head])
            if self.turns is None:
                scores = (
                    rows.length**2 * spectral_norm_of_product(weight[:, query], weight[:, key].T)
                    + rows.length * float(np.linalg.norm(weight[:, query] @ bias[key]))
                    + rows.length * float(np.linalg.norm(weight[:, key] @ bias[query]))
                    + abs(float(bias[query] @ bias[key] + shift))
                )
            else:  # by any angle: the longest query times the longest key
                asks, keys = (
                    rows.length * spectral_norm(weight[:, part]) + float(np.linalg.norm(bias[part]))
                    for part in (query, key)
                )
                scores, largest = asks * keys + abs(shift), max(largest, asks, keys)
            scores += self.position_bound(own, rows, head)
            row_sum = bound.row_sum(scores, positions) * (positions if self.shares_length else 1)
            values = rows.length * spectral_norm(weight[:, value]) + float(np.linalg.norm(bias[value]))
            # All values point the same way at worst.
            projected = rows.length * spectral_norm_of_product(weight[:, value], output[start:stop]) + float(
                np.linalg.norm(bias[value] @ output[start:stop])
            )
            largest = max(largest, scores, bound.largest(scores, positions), row_sum * values)
            added += row_sum * projected
        return largest, added
