"""All heads in one product: their matrices side by side against a block-diagonal one.

SPU takes a batch of products one by one, with messages for each: for 12 heads a third of a layer's. In one plain
product they are multiplied by many zeros too, which takes longer: worth it where messages travel far.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def block_diagonal(x: jax.Array, y: jax.Array) -> jax.Array:
    """x [batch, heads, n, k] times y [batch, heads, k, m], by a plain product for each of the batch.

    Zeros are padded, not multiplied by: a product by a public number would be truncated.
    """
    _, heads, rows, _ = x.shape
    width = y.shape[-1]

    def one(x: jax.Array, y: jax.Array) -> jax.Array:
        beside = [jnp.pad(y[i], ((0, 0), (i * width, (heads - 1 - i) * width))) for i in range(heads)]
        found = x.transpose(1, 0, 2).reshape(rows, -1) @ jnp.concatenate(beside)
        return found.reshape(rows, heads, width).transpose(1, 0, 2)

    return jnp.stack([one(left, right) for left, right in zip(x, y, strict=True)])
