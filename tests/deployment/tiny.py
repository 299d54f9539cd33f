"""A tiny classifier with random weights and a tokenizer of its own, for tests that want a real model quickly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from freediv.transformer import (
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


def make_tiny_model(
    directory: Path, *, embedding: str = "secret", seed: int = 3, headroom: float | None = 12.0, **fields: object
) -> Path:
    """Two layers, 32 wide, four heads, 2quad-freediv and quad: large enough weights that sentences differ clearly.

    `fields` are those of the architecture.
    """
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {word: i + 4 for i, word in enumerate(WORDS)}
    functions = LayerFunctions(attention="2quad-freediv", activation="quad")
    known: dict[str, object] = {
        "vocabulary": len(vocabulary),
        "embedding_size": 32,
        "hidden": 32,
        "layers": 2,
        "heads": 4,
        "intermediate": 64,
        "positions": 32,
        "label_names": ("negative", "positive"),
        "embedding": embedding,
        "functions": (functions, functions),
    }
    architecture = Architecture(**known | fields)
    parameters = initial_parameters(architecture, seed=seed, scale=0.15)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    # Steeper, and with its mean in the middle, so that either label occurs and none is a close call.
    head = parameters["classifier"]
    head["weight"], head["bias"] = 4 * head["weight"], 4 * head["bias"]
    model = Model(architecture, parameters, certificate=Certificate(headroom_bits=headroom))
    texts = PAIRS if architecture.pairs else SENTENCES
    head["bias"] = head["bias"] - np.mean([plain_logits(model, tokenizer, text) for text in texts], axis=0)
    write_model(model, directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


PAIRS = tuple(zip(SENTENCES, SENTENCES[::-1], strict=True))


def plain_logits(model: Model, tokenizer: Tokenizer, text: Text) -> np.ndarray:
    """What the classifier says in the clear, without any padding: logits [labels]."""
    ids = np.array([tokenizer.encode_batch([text])[0].ids], np.int32)
    return np.asarray(forward(model.architecture, model.parameters, {"token_ids": ids, "mask": np.ones_like(ids)}))[0]
