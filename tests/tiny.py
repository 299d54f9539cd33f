"""Tiny classifiers with random weights, for tests that want a real model quickly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from freediv.model import (
    Architecture,
    Certificate,
    LayerFunctions,
    Model,
    Text,
    forward,
    initial_parameters,
    write_model,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [
    "a",
    "the",
    "it",
    "film",
    "story",
    "music",
    "plot",
    "is",
    "was",
    "has",
    "no",
    "good",
    "bad",
    "dull",
    "warm",
    "funny",
    "honest",
    "noise",
    "of",
    "and",
]
SENTENCES = (
    "a warm and funny film",
    "the plot is noise and the story is dull",
    "it has good music",
    "no story no plot no music",
    "the film was honest",
    "bad bad bad",
)


PAIRS = tuple(zip(SENTENCES, SENTENCES[::-1], strict=True))
PUBLISHED = {"attention": "softmax", "activation": "gelu"}
"""The functions that teachers have."""


def architecture(layers: int = 2, **fields: Any) -> Architecture:
    """16 wide, four heads, 2quad-freediv and quad; its word table is as wide as what follows.

    `fields` are those of the architecture, or of `LayerFunctions`, for all layers; `norm` stands for both of a layer's.
    """
    functions = {"attention": "2quad-freediv", "activation": "quad"}
    if "norm" in fields:
        functions |= dict.fromkeys(("attention_norm", "feed_forward_norm"), fields.pop("norm"))
    functions |= {name: fields.pop(name) for name in LayerFunctions.model_fields if name in fields}
    known: dict[str, Any] = {
        "vocabulary": 40,
        "embedding_size": fields.get("hidden", 16),
        "hidden": 16,
        "layers": layers,
        "heads": 4,
        "intermediate": 24,
        "positions": 32,
        "label_names": ("negative", "positive"),
        "functions": (LayerFunctions(**functions),) * layers,
    }
    return Architecture(**known | fields)


def model(*, seed: int = 0, scale: float = 0.02, **fields: Any) -> Model:
    """A model of such an architecture, with random weights."""
    chosen = architecture(**fields)
    return Model(chosen, initial_parameters(chosen, seed, scale))


def make_tiny_model(directory: Path, *, seed: int = 3, headroom: float | None = 12.0, **fields: Any) -> Path:
    """32 wide, with a tokenizer, and weights so large that sentences differ clearly; `fields` as of `architecture`."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {word: i + 4 for i, word in enumerate(WORDS)}
    tiny = model(seed=seed, scale=0.15, **{"vocabulary": len(vocabulary), "hidden": 32, "intermediate": 64} | fields)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    # Steeper, and with its mean in the middle, so that either label occurs and none is a close call.
    head = tiny.parameters["classifier"]
    head["weight"], head["bias"] = 4 * head["weight"], 4 * head["bias"]
    texts = PAIRS if tiny.architecture.pairs else SENTENCES
    head["bias"] = head["bias"] - np.mean([plain_logits(tiny, tokenizer, text) for text in texts], axis=0)
    write_model(replace(tiny, certificate=Certificate(headroom_bits=headroom)), directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def plain_logits(model: Model, tokenizer: Tokenizer, text: Text) -> np.ndarray:
    """What the classifier says in the clear, without any padding: logits [labels]."""
    ids = np.array([tokenizer.encode_batch([text])[0].ids], np.int32)
    return np.asarray(forward(model.architecture, model.parameters, {"token_ids": ids, "mask": np.ones_like(ids)}))[0]
