"""DistilBERT: Sanh et al. 2019. BERT without token types or pooler; its head begins with a map and ReLU of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..pieces.wordpiece import WordPiece
from .family import GAMMA_AND_BETA, Config, Family, renamed

_LAYER = "distilbert.transformer.layer.{layer}"
_MOST_NUMBERS = 1 << 24
"""Of a table that is made."""
_POSITIONS = "distilbert.embeddings.position_embeddings"


def _with_positions(config: Config, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sinusoidal positions, which a checkpoint need not hold: Vaswani et al. 2017, section 3.5."""
    key = f"{_POSITIONS}.weight"
    count, width = int(config["max_position_embeddings"]), int(config["hidden_size"])
    if not config.get("sinusoidal_pos_embds") or key in tensors or count * width > _MOST_NUMBERS:
        return dict(tensors)
    angles = np.arange(count)[:, None] / 10000 ** (np.arange(width) // 2 * 2 / width)
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    return {**tensors, key: angles.astype(np.float32)}


DISTILBERT = Family(
    name="distilbert",
    prefix="DistilBert",
    root="distilbert",
    embedding={
        "word": "distilbert.embeddings.word_embeddings",
        "position": _POSITIONS,
        "norm": "distilbert.embeddings.LayerNorm",
    },
    attention={
        "qkv": tuple(f"{_LAYER}.attention.{part}_lin" for part in "qkv"),
        "output": f"{_LAYER}.attention.out_lin",
        "norm": f"{_LAYER}.sa_layer_norm",
    },
    feed_forward={
        "intermediate": f"{_LAYER}.ffn.lin1",
        "output": f"{_LAYER}.ffn.lin2",
        "norm": f"{_LAYER}.output_layer_norm",
    },
    classifier={"pooler": "pre_classifier", "": "classifier"},
    pooler="relu",
    calls={
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
    },
    fields=lambda config: {"token_types": 0},
    others=renamed(*GAMMA_AND_BETA),
    completed=_with_positions,
    fixed={"layer_norm_eps": 1e-12},
    tokenizer=WordPiece(classes=("DistilBertTokenizer",)),
    aside=("vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
)
