"""Moving constants into neighbouring weights, exactly.

Under MPC every product by a constant is a truncation, and a truncation is communication. Folding changes no function,
only where its constants stand; a secure run loads folded parameters. Each fold is differentiable, in float32 exact to
rounding, and tested against the unfolded model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .activation import ACTIVATIONS
from .architecture import Architecture
from .attention import ATTENTIONS
from .limits import LARGEST
from .normalisation import NORMALISATIONS, centred
from .stage import Block, Parameters
from .stages import stages

Array: TypeAlias = jax.Array
Own = dict[str, Array]


def fold(architecture: Architecture, parameters: Mapping[str, Mapping[str, ArrayLike]]) -> Parameters:
    """Folded parameters of a model, with the shapes of `parameter_shapes(architecture, folded=True)`."""
    folded: Parameters = {}
    before: tuple[Array, Array] | None = None  # weight and bias of the norm before
    scales: list[Array] = []  # of what a row that has a limit is, over what it was
    for stage in stages(architecture):
        own = {name: jnp.asarray(value) for name, value in parameters[stage.name].items()}
        norm = architecture.embedding_norm
        if stage.block == "embedding":
            own = _fold_embedding(architecture, own)
        elif stage.block == "attention":
            assert stage.layer is not None
            functions = architecture.functions[stage.layer]
            own = _take_norm(before, "qkv", _fold_attention(functions.attention, architecture, own))
            norm = functions.attention_norm
        elif stage.block == "feed_forward":
            assert stage.layer is not None
            functions = architecture.functions[stage.layer]
            own = _take_norm(before, "intermediate", _fold_activation(functions.activation, own))
            norm = functions.feed_forward_norm
        else:
            own = _fold_classifier(architecture, own, before)
            if "limits" in own:
                squares = architecture.hidden * jnp.square(jnp.stack(scales))
                own["limits"] = jnp.minimum(own["limits"] * squares, LARGEST)
        if norm != "none" and stage.block != "classifier":
            own = _centre(stage.block, own)
        if stage.block != "classifier" and architecture.limited[len(folded)]:
            scales.append(jnp.exp(-own["norm.log_g"][1]))
        before = _hand_over_norm(norm, own)
        folded[stage.name] = own
    return folded


def _centre(block: Block, own: Own) -> Own:
    """Centre the rows that a norm takes, by the linear maps that they are the sum of."""
    if block == "embedding":
        # A public table is its readers' own: `prepare_inputs` centres its rows.
        table = "projection" if "projection" in own else "word"
        return own | {name: centred(own[name]) for name in ("position", "segment", table) if name in own}
    weight = own.setdefault("residual.weight", jnp.ones_like(own["output.bias"]))
    own["residual.mean"] = weight[:, None] / weight.size
    return own | {name: centred(own[name]) for name in ("output.weight", "output.bias")}


def _hand_over_norm(name: str, own: Own) -> tuple[Array, Array] | None:
    """Take a norm's weight and bias out of its stage; the next one gets them."""
    if "norm.weight" not in own:
        return None
    weight, bias = own.pop("norm.weight"), own.pop("norm.bias")
    if NORMALISATIONS[name].constants:
        first, others = own.pop("norm.log_g")
        own.pop("norm.anneal", None)
        own["norm.first"] = jnp.exp(first - others)
        weight = jnp.exp(others) * weight
    return weight, bias


def _into(norm: tuple[Array, Array], name: str, own: Own) -> None:
    """A norm's weight and bias into the linear map that reads its result."""
    weight, bias = norm
    prefix = f"{name}." if name else ""
    own[f"{prefix}bias"] = own[f"{prefix}bias"] + bias @ own[f"{prefix}weight"]
    own[f"{prefix}weight"] = weight[:, None] * own[f"{prefix}weight"]


def _take_norm(norm: tuple[Array, Array] | None, name: str, own: Own) -> Own:
    """The norm before a block: into its first linear map, and into what the block's result is added to."""
    if norm is not None:
        _into(norm, name, own)
        own["residual.weight"] = norm[0]
        own["output.bias"] = own["output.bias"] + norm[1]
    return own


def _fold_classifier(architecture: Architecture, own: Own, norm: tuple[Array, Array] | None) -> Own:
    """The norm before, and an identity pooler, which is a linear map before another."""
    if architecture.pooler == "identity":
        pooler, bias = own.pop("pooler.weight"), own.pop("pooler.bias")
        own |= {"weight": pooler @ own["weight"], "bias": bias @ own["weight"] + own["bias"]}
    if norm is not None:
        _into(norm, "pooler" if "pooler.weight" in own else "", own)
    return own


def _take_constants(own: Own) -> dict[str, Array]:
    names = [name for name in own if name.startswith("constants.")]
    return {name.removeprefix("constants."): own.pop(name) for name in names}


def _fold_embedding(architecture: Architecture, own: Own) -> Own:
    """The first token type joins the positions; the second, where there is one, is told by what it differs in."""
    if architecture.token_types:
        first, *others = own.pop("token_type")
        own["position"] = own["position"] + first
        if architecture.reads_segments:
            own["segment"] = others[0] - first
    if architecture.embedding == "public":
        del own["word"]
    return own


def _fold_attention(name: str, architecture: Architecture, own: Own) -> Own:
    """The scores' scale, half into the query weights and half into the key weights, so that neither loses bits."""
    scale, shift = ATTENTIONS[name].affine(_take_constants(own), architecture.head_size)
    half = jnp.sqrt(jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (architecture.heads,)))
    columns = jnp.repeat(half, architecture.head_size)
    columns = jnp.concatenate([columns, columns, jnp.ones(architecture.hidden, columns.dtype)])
    own["qkv.weight"] = own["qkv.weight"] * columns
    own["qkv.bias"] = own["qkv.bias"] * columns
    if "relative" in own:  # of the scores after 1 / sqrt(d), and it takes up the shift
        own["relative"] = own["relative"] * half**2 * architecture.head_size**0.5
        if shift is not None:
            own["relative"] = own["relative"] + jnp.asarray(shift, jnp.float32)
    elif shift is not None:
        own["shift"] = jnp.broadcast_to(jnp.asarray(shift, jnp.float32), (architecture.heads,))
    return own


def _fold_activation(name: str, own: Own) -> Own:
    """Scale and shift into the weights before, the offset into the bias after: what is left is g."""
    function = ACTIVATIONS[name]
    constants = _take_constants(own)
    if function.folds:
        scale, shift, offset = function.affine(constants)
        own["intermediate.weight"] = own["intermediate.weight"] * scale
        own["intermediate.bias"] = own["intermediate.bias"] * scale + shift
        own["output.bias"] = own["output.bias"] + offset * jnp.sum(own["output.weight"], axis=0)
    return own
