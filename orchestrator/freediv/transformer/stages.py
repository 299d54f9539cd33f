"""The model as a list of named stages, each a pure function of (parameters, activations).

The same functions are trained, evaluated and compiled for a secure run. A stage runs *unfolded* (as trained: constants
are applied where their formula has them) or *folded* (constants moved into weights by `folding`); `folded` only decides
which parameters it finds.

Activations, by name: `one_hot` [batch, length, vocabulary] or `rows` [batch, length, embedding_size], `hidden`
[batch, length, hidden], `mask` [batch, length] (1 for real word pieces), `mask_over_length` [batch, length] (mask over
the number of real pieces), `segment` [batch, length] (1 for those of a pair's second text), `logits` [batch, labels];
where rows have `limits`, those have names of their own, and folded logits come with what tells whether all were kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import jax.numpy as jnp
from jax.typing import ArrayLike

from .activation import ACTIVATIONS
from .architecture import Architecture
from .attention import ATTENTIONS, multiply_heads
from .limits import with_limits
from .normalisation import NORMALISATIONS, Observe, ignore
from .pairs import second_text
from .products import multiply
from .relative import score_bias
from .stage import Array, Block, Dropout, Shape, Stage, keep

Result = TypeVar("Result")


def stages(architecture: Architecture, *, folded: bool = False) -> tuple[Stage, ...]:
    """All stages of a model, in the order in which they run."""
    found = [_embedding(architecture, folded)]
    for layer in range(architecture.layers):
        found += [_attention(architecture, layer, folded), _feed_forward(architecture, layer, folded)]
    found.append(_classifier(architecture, folded))
    return tuple(with_limits(architecture, found) if architecture.row_limits and folded else found)


def parameter_shapes(architecture: Architecture, *, folded: bool = False) -> dict[str, dict[str, Shape]]:
    """The shape of every parameter, by stage and name."""
    return {stage.name: dict(stage.parameter_shapes) for stage in stages(architecture, folded=folded)}


def hidden_states(
    architecture: Architecture,
    parameters: Mapping[str, Mapping[str, ArrayLike]],
    inputs: Mapping[str, ArrayLike],
    *,
    folded: bool = False,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> tuple[list[Array], Array]:
    """Run the model and keep what lies between its layers.

    Args:
        architecture: the model.
        parameters: unfolded, or folded where `folded` is set.
        inputs: activations by name. `token_ids` [batch, length] may stand for `one_hot`, `rows` and `segment`: the
            table is then indexed, which gives the same numbers. `mask_over_length` may be left out where `mask` is
            given.
        folded: which form the parameters have.
        dropout: called at the places where BERT drops.
        observe: called with values that calibration and range checks need, named `<stage>/<what>`.

    Returns:
        Hidden states [batch, length, hidden] after the embedding and after each layer, and logits [batch, labels].
    """
    values: dict[str, Array] = {name: jnp.asarray(value) for name, value in inputs.items()}
    if "mask_over_length" not in values and "mask" in values:
        values["mask_over_length"] = values["mask"] / jnp.sum(values["mask"], axis=-1, keepdims=True)
    if "token_ids" in values and architecture.separator_token is not None:
        values["segment"] = second_text(values["token_ids"], architecture.separator_token).astype(jnp.float32)
    kept: list[Array] = []
    for stage in stages(architecture, folded=folded):
        own = {name: jnp.asarray(value) for name, value in parameters[stage.name].items()}
        drop, see = _within(stage.name, dropout), _within(stage.name, observe)
        if stage.block == "embedding" and "token_ids" in values:
            rows = own["word"][values["token_ids"]]
            others = (values[name] for name in stage.inputs[1:])
            result = _embed_rows(architecture, folded, own, rows, *others, dropout=drop, observe=see)
        else:
            result = stage.apply(own, *(values[name] for name in stage.inputs), dropout=drop, observe=see)
        if stage.block == "classifier":
            result, excess = jnp.split(result, [architecture.labels], axis=-1)
            see("excess", excess)
        see("output", result)
        values[stage.output] = result
        if stage.block in ("embedding", "feed_forward"):
            kept.append(result)
    return kept, values["logits"]


def forward(
    architecture: Architecture,
    parameters: Mapping[str, Mapping[str, ArrayLike]],
    inputs: Mapping[str, ArrayLike],
    *,
    folded: bool = False,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    """Logits [batch, labels]; arguments as for `hidden_states`."""
    return hidden_states(architecture, parameters, inputs, folded=folded, dropout=dropout, observe=observe)[1]


def answer(
    architecture: Architecture,
    folded: Mapping[str, Mapping[str, ArrayLike]],
    inputs: Mapping[str, ArrayLike],
    observe: Observe = ignore,
) -> tuple[Array, Array]:
    """What a secure run makes of folded parameters: logits [batch, labels], and whether all rows kept their limits
    [batch]; where rows have none, they did.
    """
    seen: dict[str, Array] = {}

    def see(name: str, value: Array) -> None:
        if name == "classifier/excess":
            seen[name] = value
        else:
            observe(name, value)

    logits = forward(architecture, folded, inputs, folded=True, observe=see)
    return logits, jnp.all(seen["classifier/excess"] <= 0, axis=-1)  # false where it is no number


def _within(stage: str, call: Callable[[str, Array], Result]) -> Callable[[str, Array], Result]:
    return lambda name, value: call(f"{stage}/{name}", value)


def dense(x: Array, weight: Array, bias: Array) -> Array:
    """x [..., n] times weight [n, m] plus bias [m]: one plain matrix product, whatever the leading dimensions."""
    rows = multiply(x.reshape(-1, x.shape[-1]), weight) + bias
    return rows.reshape(*x.shape[:-1], weight.shape[-1])


def _norm_shapes(name: str, hidden: int, folded: bool) -> dict[str, Shape]:
    function = NORMALISATIONS[name]
    if name == "none":
        return {}
    if folded:
        return {f"norm.{constant}": () for constant in function.folded_constants}
    own: dict[str, Shape] = {f"norm.{constant}": (2,) for constant in function.constants}
    return {"norm.weight": (hidden,), "norm.bias": (hidden,), **own}


def _norm(
    name: str, folded: bool, x: Array, parameters: Mapping[str, Array], epsilon: float, observe: Observe
) -> Array:
    own = {k.removeprefix("norm."): v for k, v in parameters.items() if k.startswith("norm.")}
    function = NORMALISATIONS[name]
    return (function.folded if folded else function.apply)(x, own, epsilon, observe)


def norm_before(architecture: Architecture, block: Block, layer: int | None) -> str:
    """The normalisation whose result a block reads; folded, that comes without its weight and bias."""
    functions = architecture.functions
    if block == "feed_forward" and layer is not None:
        return functions[layer].attention_norm
    last = len(functions) if block == "classifier" else layer
    return functions[last - 1].feed_forward_norm if last else architecture.embedding_norm


def _residual_shapes(before: str, after: str, hidden: int) -> dict[str, Shape]:
    """Of a folded block between two norms."""
    shapes: dict[str, Shape] = {"residual.weight": (hidden,)} if {before, after} != {"none"} else {}
    return shapes | ({"residual.mean": (hidden, 1)} if after != "none" else {})


def _residual(hidden: Array, p: Mapping[str, Array]) -> Array:
    """What a block adds its result to: folded, with the weight of the norm before (whose bias is in the block's own),
    and centred for the norm after.
    """
    if "residual.weight" not in p:
        return hidden
    x = hidden * p["residual.weight"]
    if "residual.mean" in p:
        mean = hidden.reshape(-1, hidden.shape[-1]) @ p["residual.mean"]
        x = x - mean.reshape(*hidden.shape[:-1], 1)
    return x


def _embedding(a: Architecture, folded: bool) -> Stage:
    shapes: dict[str, Shape] = {"position": (a.positions, a.hidden)}
    if not (folded and a.embedding == "public"):
        shapes["word"] = (a.vocabulary, a.embedding_size)
    if a.embedding_size != a.hidden:
        shapes["projection"] = (a.embedding_size, a.hidden)
    if not folded and a.token_types:
        shapes["token_type"] = (a.token_types, a.hidden)
    if folded and a.reads_segments:
        shapes["segment"] = (a.hidden,)
    shapes |= _norm_shapes(a.embedding_norm, a.hidden, folded)
    table = a.embedding == "secret"
    signature = (
        "embedding", folded, table, a.embedding_norm, a.norm_epsilon, a.reads_segments, tuple(sorted(shapes.items())),
    )  # fmt: skip
    function = partial(_embed_one_hot if table else _embed_rows, a, folded)
    inputs = ("one_hot" if table else "rows", *(["segment"] if a.reads_segments else []))
    return Stage("embedding", "embedding", None, inputs, "hidden", shapes, function, signature)


def _embed_one_hot(
    a: Architecture,
    folded: bool,
    p: Mapping[str, Array],
    one_hot: Array,
    segment: Array | None = None,
    *,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    rows = multiply(one_hot.reshape(-1, a.vocabulary), p["word"])
    rows = rows.reshape(*one_hot.shape[:2], a.embedding_size)
    return _embed_rows(a, folded, p, rows, segment, dropout=dropout, observe=observe)


def _embed_rows(
    a: Architecture,
    folded: bool,
    p: Mapping[str, Array],
    rows: Array,
    segment: Array | None = None,
    *,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    batch, length, width = rows.shape
    if "projection" in p:
        rows = multiply(rows.reshape(-1, width), p["projection"]).reshape(batch, length, a.hidden)
    x = rows + p["position"][:length]
    if "token_type" in p:
        x = x + p["token_type"][0]
    if segment is not None:
        x = x + segment[..., None] * (p["segment"] if folded else p["token_type"][1] - p["token_type"][0])
    return dropout("output", _norm(a.embedding_norm, folded, x, p, a.norm_epsilon, observe))


def _attention(a: Architecture, layer: int, folded: bool) -> Stage:
    functions = a.functions[layer]
    chosen = ATTENTIONS[functions.attention]
    shapes: dict[str, Shape] = {
        "qkv.weight": (a.hidden, 3 * a.hidden),
        "qkv.bias": (3 * a.hidden,),
        "output.weight": (a.hidden, a.hidden),
        "output.bias": (a.hidden,),
    }
    if a.relative_buckets:
        shapes["relative"] = (a.relative_buckets, a.heads)
    if not folded:
        shapes |= {f"constants.{name}": (a.heads,) for name in chosen.constants}
    elif chosen.shifts and not a.relative_buckets:
        shapes["shift"] = (a.heads,)
    if folded:
        shapes |= _residual_shapes(norm_before(a, "attention", layer), functions.attention_norm, a.hidden)
    shapes |= _norm_shapes(functions.attention_norm, a.hidden, folded)
    inputs = ("hidden",) if chosen.reads == "nothing" else ("hidden", chosen.reads)
    signature = (
        "attention", folded, functions.attention, functions.attention_norm, a.norm_epsilon, a.heads,
        tuple(sorted(shapes.items())),
    )  # fmt: skip
    name = f"encoder.{layer}.attention"
    function = partial(_attend, a, functions.attention, functions.attention_norm, folded)
    return Stage(name, "attention", layer, inputs, "hidden", shapes, function, signature)


def _attend(
    a: Architecture,
    attention: str,
    norm: str,
    folded: bool,
    p: Mapping[str, Array],
    hidden: Array,
    mask: Array | None = None,
    *,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    chosen = ATTENTIONS[attention]
    batch, length, _ = hidden.shape
    qkv = dense(hidden, p["qkv.weight"], p["qkv.bias"])
    observe("qkv", qkv)
    query, key, value = jnp.split(qkv, 3, axis=-1)
    if chosen.reads == "mask_over_length":
        assert mask is not None
        # Without a row sum, the mask may as well lie on the value rows: length x hidden products, not heads x length^2.
        value = value * mask[..., None]

    def split(x: Array) -> Array:
        return x.reshape(batch, length, a.heads, a.head_size).transpose(0, 2, 1, 3)

    x = multiply_heads(split(query), split(key).swapaxes(-1, -2))
    shift: Array | float | None = p.get("shift")
    if "relative" in p:
        x = x + score_bias(p["relative"], length) * (1 if folded else a.head_size**0.5)
    if not folded:
        scale, shift = chosen.affine(_constants(p), a.head_size)
        x = x * jnp.reshape(jnp.asarray(scale), (-1, 1, 1))
    if shift is not None:
        x = x + jnp.reshape(jnp.asarray(shift), (-1, 1, 1))
    observe("scores", x)
    weights = chosen.weigh(x, mask if chosen.reads == "mask" else None)
    observe("weights", weights)
    context = multiply_heads(dropout("weights", weights), split(value)).transpose(0, 2, 1, 3).reshape(hidden.shape)
    observe("context", context)
    x = _residual(hidden, p) + dropout("output", dense(context, p["output.weight"], p["output.bias"]))
    observe("residual", x)
    return _norm(norm, folded, x, p, a.norm_epsilon, observe)


def _constants(p: Mapping[str, Array]) -> dict[str, Array]:
    return {k.removeprefix("constants."): v for k, v in p.items() if k.startswith("constants.")}


def _feed_forward(a: Architecture, layer: int, folded: bool) -> Stage:
    functions = a.functions[layer]
    chosen = ACTIVATIONS[functions.activation]
    shapes: dict[str, Shape] = {
        "intermediate.weight": (a.hidden, a.intermediate),
        "intermediate.bias": (a.intermediate,),
        "output.weight": (a.intermediate, a.hidden),
        "output.bias": (a.hidden,),
    }
    if not folded:
        shapes |= {f"constants.{name}": () for name in chosen.constants}
    if folded:
        shapes |= _residual_shapes(norm_before(a, "feed_forward", layer), functions.feed_forward_norm, a.hidden)
    shapes |= _norm_shapes(functions.feed_forward_norm, a.hidden, folded)
    signature = (
        "feed_forward", folded, functions.activation, functions.feed_forward_norm, a.norm_epsilon,
        tuple(sorted(shapes.items())),
    )  # fmt: skip
    name = f"encoder.{layer}.feed_forward"
    function = partial(_feed, a, functions.activation, functions.feed_forward_norm, folded)
    return Stage(name, "feed_forward", layer, ("hidden",), "hidden", shapes, function, signature)


def _feed(
    a: Architecture,
    activation: str,
    norm: str,
    folded: bool,
    p: Mapping[str, Array],
    hidden: Array,
    *,
    dropout: Dropout = keep,
    observe: Observe = ignore,
) -> Array:
    chosen = ACTIVATIONS[activation]
    x = dense(hidden, p["intermediate.weight"], p["intermediate.bias"])
    if chosen.folds and not folded:
        scale, shift, offset = chosen.affine(_constants(p))
        observe("activation_in", x)
        x = chosen.apply(x * scale + shift) + offset
    else:
        observe("activation_in", x)
        x = chosen.apply(x)
    observe("activation_out", x)
    x = _residual(hidden, p) + dropout("output", dense(x, p["output.weight"], p["output.bias"]))
    observe("residual", x)
    return _norm(norm, folded, x, p, a.norm_epsilon, observe)


def _classifier(a: Architecture, folded: bool) -> Stage:
    shapes: dict[str, Shape] = {"weight": (a.hidden, a.labels), "bias": (a.labels,)}
    if a.row_limits:
        shapes["limits"] = (sum(a.limited),)
    if a.pooler == "tanh" or (a.pooler == "identity" and not folded):
        shapes |= {"pooler.weight": (a.hidden, a.hidden), "pooler.bias": (a.hidden,)}
    signature = ("classifier", folded, a.pooler, tuple(sorted(shapes.items())))
    function = partial(_classify, a)
    return Stage("classifier", "classifier", None, ("hidden",), "logits", shapes, function, signature)


def _classify(
    a: Architecture, p: Mapping[str, Array], hidden: Array, *, dropout: Dropout = keep, observe: Observe = ignore
) -> Array:
    x = hidden[:, 0]
    if "pooler.weight" in p:
        x = dense(x, p["pooler.weight"], p["pooler.bias"])
        if a.pooler == "tanh":
            x = jnp.tanh(x)
    return dense(dropout("pooled", x), p["weight"], p["bias"])
