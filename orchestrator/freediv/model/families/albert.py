"""ALBERT: Lan et al. 2020. Layers share their weights in groups; a map follows the norm of a narrower embedding.

What it is converted to has layers of their own: written as an ALBERT of as many groups as layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from ..architecture import Architecture
from ..pieces.kind import BERTS, Settings, flag
from ..pieces.sentencepiece import SentencePiece, Steps, replace
from .family import Config, Family

_GROUPS = "albert.encoder.albert_layer_groups"
_LAYER = f"{_GROUPS}.{{layer}}.albert_layers.0"
_OF_LAYER = re.compile(rf"{re.escape(_GROUPS)}\.(\d+)\.albert_layers\.(\d+)\.(.+)")


def _fields(config: Config) -> dict[str, object]:
    if config["num_hidden_groups"] < 1 or config["inner_group_num"] < 1:
        raise ValueError("num_hidden_groups and inner_group_num are at least 1")
    width = config["embedding_size"]
    return {
        "token_types": config.get("type_vocab_size", 2),
        "embedding_size": width,
        "embedding_width": width,
        "layers": config["num_hidden_layers"] * config["inner_group_num"],
    }


def _keys(architecture: Architecture) -> dict[str, object]:
    return {
        "type_vocab_size": architecture.token_types,
        "embedding_size": architecture.summed_width,
        "num_hidden_groups": max(1, architecture.layers),
        "inner_group_num": 1,
    }


def _each_layers_own(config: Config, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of layers, in place of those of groups: the same for all that share them."""
    found: dict[str, np.ndarray] = {}
    groups: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        if (match := _OF_LAYER.fullmatch(name)) is None:
            found[name] = value
        else:
            groups.setdefault((int(match[1]), int(match[2])), {})[match[3]] = value
    layers, inner = config["num_hidden_layers"], config["inner_group_num"]
    order = [
        (int(layer / (layers / config["num_hidden_groups"])), place)
        for layer in range(layers)
        for place in range(inner)
    ]
    if beyond := groups.keys() - set(order):
        group, place = min(beyond)
        raise ValueError(f"{_GROUPS}.{group}.albert_layers.{place} is no layer that config.json describes")
    for number, one in enumerate(order):
        found |= {f"{_LAYER.format(layer=number)}.{name}": value for name, value in groups.get(one, {}).items()}
    return found


def _steps(charsmap: Steps, settings: Settings) -> Steps:
    """Of its tokenizer's normalizer."""
    quotes = [{"type": "Replace", "pattern": {"String": found}, "content": '"'} for found in ("``", "''")]
    accents = [] if flag(settings, "keep_accents", False) else [{"type": "NFKD"}, {"type": "StripAccents"}]
    case = [{"type": "Lowercase"}] if flag(settings, "do_lower_case", True) else []
    return [*quotes, *accents, *case, *charsmap, replace(" {2,}", " ")]


def _score(piece: str, score: float) -> float:
    """Pieces of a digit and a comma are kept for what nothing else fits."""
    return score - 100 if piece[-1:] == "," and piece[-2:-1].isdigit() else score


ALBERT = Family(
    name="albert",
    prefix="Albert",
    root="albert",
    tokenizer=SentencePiece(
        classes=("AlbertTokenizer",),
        special=BERTS | {"unk_token": "<unk>", "pad_token": "<pad>"},
        mask_takes_space=True,
        file="spiece.model",
        steps=_steps,
        score=_score,
    ),
    embedding={
        "word": "albert.embeddings.word_embeddings",
        "position": "albert.embeddings.position_embeddings",
        "token_type": "albert.embeddings.token_type_embeddings",
        "norm": "albert.embeddings.LayerNorm",
        "map": "albert.encoder.embedding_hidden_mapping_in",
    },
    attention={
        "qkv": tuple(f"{_LAYER}.attention.{part}" for part in ("query", "key", "value")),
        "output": f"{_LAYER}.attention.dense",
        "norm": f"{_LAYER}.attention.LayerNorm",
    },
    feed_forward={
        "intermediate": f"{_LAYER}.ffn",
        "output": f"{_LAYER}.ffn_output",
        "norm": f"{_LAYER}.full_layer_layer_norm",
    },
    classifier={"pooler": "albert.pooler", "": "classifier"},
    defaults={"embedding_size": 128, "num_hidden_groups": 1, "inner_group_num": 1, "hidden_act": "gelu_new"},
    fields=_fields,
    keys=_keys,
    completed=_each_layers_own,
    refuses={"position_embedding_type": "absolute"},
    aside=("predictions.", "sop_classifier."),
)
