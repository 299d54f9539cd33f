"""ModernBERT: Warner et al. 2024. Norms come first, positions are angles, most layers have a window, feed-forward
blocks are gated, and biases are rare.
"""

from __future__ import annotations

from typing import Any

from ..architecture import Architecture
from ..functions.rotary import Rotary
from ..functions.window import Window
from ..pieces.byte_level import ByteLevel
from .activation_names import activation_of, name_of
from .family import Config, Family

_LAYER = "model.layers.{layer}"
_BIASES = {
    "attention": "attention_bias",
    "feed_forward": "mlp_bias",
    "norm": "norm_bias",
    "classifier": "classifier_bias",
}
"""Of which parts the configuration says whether they have biases."""
_HEAD = {"norm": "model.final_norm", "pooler": "head.dense", "pooler.norm": "head.norm", "": "classifier"}
_POOLINGS = {"cls": "first", "mean": "mean"}


def _pooling(config: Config) -> str:
    name = config.get("classifier_pooling", "cls")
    if name not in _POOLINGS:
        raise ValueError(f"classifier_pooling {name!r} is not known; known: {', '.join(_POOLINGS)}")
    return _POOLINGS[name]


def _window(config: Config) -> Window | None:
    """The layers' kinds come by a number, or one by one in newer configurations."""
    kinds, every = config.get("layer_types"), config.get("global_attn_every_n_layers")
    if every is None:
        later = [layer for layer, kind in enumerate(kinds or ()) if layer and kind == "full_attention"]
        every = (later[0] if later else len(kinds)) if kinds else 3
    window = Window(reach=int(config.get("local_attention", 128)) // 2, every=every)
    wanted = ["sliding_attention" if window.on(n) else "full_attention" for n in range(len(kinds or ()))]
    if kinds and kinds != wanted:
        raise ValueError("layer_types: other layers than one in so many, from the first on, see all places")
    return window if every > 1 else None


def _rotary(config: Config) -> Rotary:
    """Bases come by themselves, or by kind of layer in newer configurations."""
    theta, window_theta = config.get("global_rope_theta", 160000.0), config.get("local_rope_theta", 10000.0)
    if (kinds := config.get("rope_parameters")) is not None:
        for kind in ("full_attention", "sliding_attention"):
            if kinds[kind].get("rope_type", "default") != "default":
                raise ValueError(f"rope_parameters: rope_type is {kinds[kind]['rope_type']!r}; freediv reads 'default'")
        theta, window_theta = (kinds[kind]["rope_theta"] for kind in ("full_attention", "sliding_attention"))
    return Rotary(theta=theta, window_theta=window_theta)


def _fields(config: Config) -> dict[str, Any]:
    return {
        "token_types": 0,
        "absolute_positions": False,
        "norm_first": True,
        "final_norm": "layernorm",
        "gated": True,
        "rotary": _rotary(config),
        "window": _window(config),
        "without_bias": tuple(part for part, key in _BIASES.items() if not config.get(key, False)),
        "pooling": _pooling(config),
        "pooler": activation_of(config.get("classifier_activation", "gelu"), "classifier_activation"),
        "pooler_norm": "layernorm",
    }


def _keys(architecture: Architecture) -> dict[str, Any]:
    window, rotary = architecture.window, architecture.rotary
    assert rotary is not None
    return {
        "global_rope_theta": rotary.theta,
        "local_rope_theta": rotary.window_theta,
        "local_attention": 128 if window is None else 2 * window.reach,
        "global_attn_every_n_layers": 1 if window is None else window.every,
        "classifier_pooling": {ours: theirs for theirs, ours in _POOLINGS.items()}[architecture.pooling],
        "classifier_activation": name_of(architecture.pooler),
        **{key: part not in architecture.without_bias for part, key in _BIASES.items()},
    }


MODERNBERT = Family(
    name="modernbert",
    prefix="ModernBert",
    root="model",
    tokenizer=ByteLevel(classes=("GPTNeoXTokenizer",)),
    embedding={"word": "model.embeddings.tok_embeddings", "norm": "model.embeddings.norm"},
    attention={"qkv": f"{_LAYER}.attn.Wqkv", "output": f"{_LAYER}.attn.Wo", "norm": f"{_LAYER}.attn_norm"},
    feed_forward={"intermediate": f"{_LAYER}.mlp.Wi", "output": f"{_LAYER}.mlp.Wo", "norm": f"{_LAYER}.mlp_norm"},
    classifier=_HEAD,
    classifiers={"ForTokenClassification": _HEAD, "Model": {"norm": _HEAD["norm"], "": "classifier"}},
    calls={"layer_norm_eps": "norm_eps", "hidden_act": "hidden_activation"},
    defaults={"norm_eps": 1e-5, "pad_token_id": 50283},
    functions=lambda layer: {} if layer else {"attention_norm": "none"},  # the embedding's norm is that of the first
    fields=_fields,
    keys=_keys,
    aside=("decoder.",),
)
