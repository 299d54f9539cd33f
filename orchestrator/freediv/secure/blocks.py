"""All heads in one product: their matrices side by side against a block-diagonal one.

SPU takes a batch of products one by one, with messages for each: for 12 heads a third of a layer's. In one plain
product they are multiplied by many zeros too, which takes longer: worth it where messages travel far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Function = Callable[..., jax.Array]


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


def with_others(function: Function, others: Mapping[str, Function]) -> Function:
    """A function in which the jitted functions of these names are replaced."""

    def evaluate(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        known = dict(zip(jaxpr.invars, arguments, strict=True)) | dict(zip(jaxpr.constvars, constants, strict=True))
        for eqn in jaxpr.eqns:
            values = [atom.val if hasattr(atom, "val") else known[atom] for atom in eqn.invars]
            inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
            if eqn.params.get("name") in others:
                results = [others[eqn.params["name"]](*values)]
            elif eqn.primitive.name in ("pjit", "closed_call", "custom_jvp_call") and inner is not None:
                results = evaluate(inner.jaxpr, inner.consts, values)
            else:
                found = eqn.primitive.bind(*values, **eqn.params)
                results = found if eqn.primitive.multiple_results else [found]
            known |= dict(zip(eqn.outvars, results, strict=True))
        return [atom.val if hasattr(atom, "val") else known[atom] for atom in jaxpr.outvars]

    def replaced(*arrays: jax.Array) -> jax.Array:
        closed = jax.make_jaxpr(function)(*arrays)
        result: jax.Array = evaluate(closed.jaxpr, closed.consts, arrays)[0]
        return result

    return replaced
