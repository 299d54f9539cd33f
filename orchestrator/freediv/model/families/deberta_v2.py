"""DeBERTa v2 and v3: He et al. 2021. Scores by content and by distance apart; what has a convolution is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...errors import UserError
from ..architecture import Architecture
from ..pieces.kind import Settings, flag
from ..pieces.sentencepiece import SentencePiece, Steps, replace
from .activation_names import name_of
from .family import Config, Family

_LAYER = "deberta.encoder.layer.{layer}"
_EMBEDDINGS = "deberta.embeddings"
_SHARED = {
    "distances": "deberta.encoder.rel_embeddings.weight",
    "distances_norm.weight": "deberta.encoder.LayerNorm.weight",
    "distances_norm.bias": "deberta.encoder.LayerNorm.bias",
}
"""What is one for all layers; ours may learn one each."""


def _fields(config: Config) -> dict[str, Any]:
    """Of published configurations, which say the same in several ways."""
    hidden, size = config["hidden_size"], config.get("embedding_size", config["hidden_size"])
    for key, needed in (
        ("pooler_hidden_size", hidden),
        ("attention_head_size", hidden // config["num_attention_heads"]),
    ):
        if config.get(key, needed) != needed:
            raise ValueError(f"{key} is {config[key]!r}; freediv reads {needed} alone, with this hidden_size")
    terms, norms = config.get("pos_att_type") or [], config.get("norm_rel_ebd", "none")
    terms, norms = ([one.strip() for one in x.lower().split("|")] if isinstance(x, str) else x for x in (terms, norms))
    farthest, buckets = config.get("max_relative_positions", -1), max(config.get("position_buckets", -1), 0)
    farthest = config["max_position_embeddings"] if farthest < 1 else farthest
    table = {
        "span": buckets or farthest,
        "buckets": buckets,
        "farthest": farthest if buckets else 0,
        "shared": config.get("share_att_key", False),
        "normed": "layer_norm" in norms,
    }
    return {
        "embedding_size": size,
        "absolute_positions": config.get("position_biased_input", True),
        "token_types": config["type_vocab_size"],
        "disentangled": {
            "terms": [term for term in dict.fromkeys(terms) if term in ("c2p", "p2c")],
            **(table if config.get("relative_attention", False) else {"span": 0}),
        },
    }


def _keys(architecture: Architecture) -> dict[str, Any]:
    scores = architecture.disentangled
    assert scores is not None
    farthest = scores.farthest if scores.buckets else scores.span or architecture.positions
    return {
        "embedding_size": architecture.embedding_size,
        "position_biased_input": architecture.absolute_positions,
        "type_vocab_size": architecture.token_types,
        "pos_att_type": list(scores.terms),
        "relative_attention": scores.span > 0,
        "position_buckets": scores.buckets or -1,
        "max_relative_positions": -1 if farthest == architecture.positions else farthest,
        "share_att_key": scores.shared,
        "norm_rel_ebd": "layer_norm" if scores.normed else "none",
        "pooler_hidden_size": architecture.hidden,
        "pooler_hidden_act": "gelu" if architecture.pooler == "none" else name_of(architecture.pooler),
    }


def _projected(config: Config, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Positions and token types as wide as what follows: a narrow embedding is projected whole, and so may its parts
    be one by one.
    """
    projection, found = tensors.get(f"{_EMBEDDINGS}.embed_proj.weight"), dict(tensors)
    for key in (f"{_EMBEDDINGS}.position_embeddings.weight", f"{_EMBEDDINGS}.token_type_embeddings.weight"):
        if projection is not None and key in found and found[key].shape[-1:] == projection.shape[-1:]:
            found[key] = found[key] @ projection.T
    return found


def _others(key: str) -> Iterator[str]:
    return (name for ending, name in _SHARED.items() if key.endswith(f".attention.{ending}"))


def _steps(charsmap: Steps, settings: Settings) -> Steps:
    """Of its tokenizer's normalizer."""
    if flag(settings, "split_by_punct", False):
        raise UserError(
            "tokenizer_config.json: split_by_punct is true; without a tokenizer.json freediv reads false alone"
        )
    case = [{"type": "Lowercase"}] if flag(settings, "do_lower_case", False) else []
    return [*case, {"type": "Strip", "strip_left": True, "strip_right": True}, *charsmap, replace(" {2,}", " ")]


DEBERTA_V2 = Family(
    name="deberta-v2",
    prefix="DebertaV2",
    root="deberta",
    embedding={
        "word": f"{_EMBEDDINGS}.word_embeddings",
        "position": f"{_EMBEDDINGS}.position_embeddings",
        "token_type": f"{_EMBEDDINGS}.token_type_embeddings",
        "projection": f"{_EMBEDDINGS}.embed_proj",
        "norm": f"{_EMBEDDINGS}.LayerNorm",
    },
    attention={
        "qkv": tuple(f"{_LAYER}.attention.self.{part}_proj" for part in ("query", "key", "value")),
        "position_key": f"{_LAYER}.attention.self.pos_key_proj",
        "position_query": f"{_LAYER}.attention.self.pos_query_proj",
        "output": f"{_LAYER}.attention.output.dense",
        "norm": f"{_LAYER}.attention.output.LayerNorm",
    },
    feed_forward={
        "intermediate": f"{_LAYER}.intermediate.dense",
        "output": f"{_LAYER}.output.dense",
        "norm": f"{_LAYER}.output.LayerNorm",
    },
    tokenizer=SentencePiece(classes=("DebertaV2Tokenizer",), file="spm.model", steps=_steps),
    classifier={"pooler": "pooler.dense", "": "classifier"},
    pooler="gelu",
    pooler_key="pooler_hidden_act",
    defaults={"layer_norm_eps": 1e-7, "type_vocab_size": 0},
    fields=_fields,
    keys=_keys,
    completed=_projected,
    others=_others,
    refuses={"conv_kernel_size": 0},
    aside=("cls.", "lm_predictions.", "mask_predictions.", f"{_EMBEDDINGS}.position_embeddings."),
)
