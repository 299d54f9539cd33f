"""An encoder in any arithmetic: the same blocks and parameters, with a place for each number that is kept.

Encoders whose layers have softmax, GELU and LayerNorm, before or after their blocks: ViT, DeiT, and of BERT's family
those without biases by distance, angles or windows. An embedding's own norm stays in floating point, and a pooler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...errors import UserError
from ...model import Architecture, LayerFunctions
from ...model.answers import LABEL
from ...model.blocks import Classifier, Embedding, blocks_of, multiply_heads
from ...model.blocks.attention import Attention
from ...model.blocks.block import Block, dense
from ...model.blocks.residual import ResidualBlock
from ...model.masks import made_of_mask
from ...model.pieces.pairs import second_text
from .arithmetic import PIXEL_BITS, RESIDUAL_BITS, Arithmetic

Array = jax.Array
Parameters = Mapping[str, Mapping[str, Array]]


def require_known(architecture: Architecture, where: object) -> None:
    """Refuse, by name, what has other functions than those that the methods are published for.

    Raises:
        UserError: it has.
    """
    a, usual = architecture, LayerFunctions()
    others = {
        "layers that are not softmax, gelu and layernorm": any(one != usual for one in a.functions),
        "biases of scores by distance": a.relative_buckets or a.disentangled is not None,
        "positions as angles": a.rotary is not None,
        "windows": a.window is not None,
        "gated blocks": a.gated,
        "pooled rows": bool(a.pools),
        f"answers that are no {LABEL.words.one}": a.answer != LABEL.name,
    }
    found = [what for what, there in others.items() if there]
    if found:
        raise UserError(
            f"{where}: has {found[0]}, for which I-BERT, FQ-ViT and I-ViT have no integer functions; quantise a ViT, a "
            "DeiT or a BERT as it was trained"
        )


def slots(architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Every slot in the order in which they run, and its kind: norm, softmax or gelu."""
    for block in blocks_of(architecture)[1:-1]:
        function = (
            (f"{block.name}/softmax", "softmax") if isinstance(block, Attention) else (f"{block.name}/gelu", "gelu")
        )
        norm = (f"{block.name}/norm", "norm")
        yield from (norm, function) if architecture.norm_first else (function, norm)
    if architecture.final_norm != "none":
        yield "classifier/norm", "norm"


def logits(
    architecture: Architecture, parameters: Parameters, inputs: Mapping[str, Array], arithmetic: Arithmetic
) -> Array:
    """Logits [batch, labels]; inputs as `hidden_states` has them, `rows` of images or `token_ids` and `mask`."""
    embedding, *layers, classifier = blocks_of(architecture)
    own = {block.name: arithmetic.weights(block.completed(parameters[block.name])) for block in blocks_of(architecture)}
    mask = inputs["mask"] if architecture.padded else None
    x = _embedded(embedding, own[embedding.name], inputs, arithmetic)
    for block in layers:
        assert isinstance(block, ResidualBlock)
        p, slot = own[block.name], f"{block.name}/norm"
        read = arithmetic.norm(slot, x, p, architecture.norm_epsilon) if block.norm_first else x
        branch = _attention if isinstance(block, Attention) else _feed_forward
        x = arithmetic.keep(f"{block.name}/sum", x + branch(block, p, read, mask, arithmetic), RESIDUAL_BITS)
        if not block.norm_first:
            x = arithmetic.norm(slot, x, p, architecture.norm_epsilon)
    p = own[classifier.name]
    if architecture.final_norm != "none":
        x = arithmetic.norm("classifier/norm", x, p, architecture.norm_epsilon)
    return _classified(architecture, p, x, inputs, arithmetic)


def _embedded(block: Block, p: Mapping[str, Array], inputs: Mapping[str, Array], arithmetic: Arithmetic) -> Array:
    if isinstance(block, Embedding):
        values = {**inputs, **made_of_mask(block.architecture, inputs["mask"])}
        if block.architecture.separator_token is not None:
            separator = block.architecture.separator_token
            values["segment"] = second_text(inputs["token_ids"], separator).astype(jnp.float32)
        x = block.of_rows(False, p, p["word"][inputs["token_ids"]], *(values[name] for name in block.inputs()[1:]))
    else:
        x = block.apply(False, p, arithmetic.keep("embedding/pixels", inputs["rows"], PIXEL_BITS))
    return arithmetic.keep("embedding/sum", x, RESIDUAL_BITS if block.architecture.norm_first else None)


def _attention(block: Any, p: Mapping[str, Array], x: Array, mask: Array | None, arithmetic: Arithmetic) -> Array:
    name, (batch, length, _), width = block.name, x.shape, block.architecture.head_size

    def split(part: Array) -> Array:
        return part.reshape(batch, length, block.heads, width).transpose(0, 2, 1, 3)

    qkv = arithmetic.keep(f"{name}/qkv", dense(x, p["qkv.weight"], p["qkv.bias"]))
    query, key, value = (split(part) for part in jnp.split(qkv, 3, axis=-1))
    scores = multiply_heads(query, key.swapaxes(-1, -2)) * block.width**-0.5
    weights = arithmetic.softmax(f"{name}/softmax", scores, mask)
    context = multiply_heads(weights, value).transpose(0, 2, 1, 3).reshape(batch, length, block.inner)
    context = arithmetic.keep(f"{name}/context", context)
    return arithmetic.keep(f"{name}/added", dense(context, p["output.weight"], p["output.bias"]), RESIDUAL_BITS)


def _feed_forward(block: Any, p: Mapping[str, Array], x: Array, mask: Array | None, arithmetic: Arithmetic) -> Array:
    x = arithmetic.gelu(f"{block.name}/gelu", dense(x, p["intermediate.weight"], p["intermediate.bias"]))
    return arithmetic.keep(f"{block.name}/added", dense(x, p["output.weight"], p["output.bias"]), RESIDUAL_BITS)


def _classified(
    architecture: Architecture, p: Mapping[str, Array], x: Array, inputs: Mapping[str, Array], arithmetic: Arithmetic
) -> Array:
    """Without its norm, which stands before."""
    block = Classifier(architecture.model_copy(update={"final_norm": "none"}), before="none")
    values = made_of_mask(architecture, inputs["mask"])
    others = (values[name] for name in block.inputs()[1:])
    return block.apply(False, p, x, *others, dropout=lambda name, pooled: arithmetic.keep("classifier/in", pooled))
