"""Hugging Face's model families: what their tensors are called, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .architecture import Architecture


@dataclass(frozen=True)
class Family:
    """One `model_type`.

    Attributes:
        name: the model type, which is also what its tensors' names begin with.
        classifier: the class of its sequence classifiers.
        first_position: rows of the position table before the one that the first piece has.
        token_types: how many it has where its configuration does not say.
        relative: whether scores get a bias by distance.
        attention: names of query, key, value, output and norm within an attention block.
        pooler, head: the layers of the classifier.
    """

    name: str
    classifier: str
    first_position: int
    token_types: int
    relative: bool
    attention: tuple[str, str, str, str, str]
    pooler: str
    head: str


FAMILIES = {
    f.name: f
    for f in (
        Family(
            "bert", "BertForSequenceClassification", 0, 2, False,
            ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm"),
            "bert.pooler.dense", "classifier",
        ),
        # Song et al. 2020. Its head is a dense layer, tanh and another: what BERT calls pooler and classifier.
        Family(
            "mpnet", "MPNetForSequenceClassification", 2, 0, True,
            ("attn.q", "attn.k", "attn.v", "attn.o", "LayerNorm"),
            "classifier.dense", "classifier.out_proj",
        ),
    )
}  # fmt: skip


def family(architecture: Architecture) -> Family:
    """The family that an architecture belongs to."""
    return FAMILIES["mpnet" if architecture.relative_buckets else "bert"]


def names_of(architecture: Architecture, stage: str, name: str) -> tuple[tuple[str, ...], bool]:
    """The Hugging Face names that make up one parameter, and whether they are stored transposed."""
    kind = family(architecture)
    if name.startswith(("constants.", "norm.log_g")) or name in ("relative", "projection", "limits"):
        return (f"freediv.{stage}.{name}",), False
    block, _, last = name.rpartition(".")
    transposed = last == "weight" and block != "norm"
    if stage == "embedding":
        table = {"word": "word_embeddings", "position": "position_embeddings", "token_type": "token_type_embeddings"}
        own = f"{table[name]}.weight" if name in table else f"LayerNorm.{last}"
        return (f"{kind.name}.embeddings.{own}",), False
    if stage == "classifier":
        return (f"{kind.pooler if block == 'pooler' else kind.head}.{last}",), transposed
    layer = f"{kind.name}.encoder.layer.{stage.split('.')[1]}"
    *qkv, output, norm = (f"attention.{part}" for part in kind.attention)
    blocks = (
        {"qkv": tuple(qkv), "output": (output,), "norm": (norm,)}
        if stage.endswith("attention")
        else {"intermediate": ("intermediate.dense",), "output": ("output.dense",), "norm": ("output.LayerNorm",)}
    )
    return tuple(f"{layer}.{part}.{last}" for part in blocks[block]), transposed


def other_names(key: str) -> tuple[str, ...]:
    """What else a tensor may be called: in old checkpoints, in encoders, and where one serves all layers."""
    if key.endswith(".attention.relative"):
        return ("mpnet.encoder.relative_attention_bias.weight",)  # one for all layers; ours may learn one each
    others = {
        ".LayerNorm.weight": ".LayerNorm.gamma",
        ".LayerNorm.bias": ".LayerNorm.beta",
        "classifier.dense.": "mpnet.pooler.dense.",
    }
    return tuple(key.replace(new, other) for new, other in others.items() if new in key)


def to_hugging_face(architecture: Architecture, stage: str, name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """A parameter as the tensors that a checkpoint holds, by their names."""
    names, transposed = names_of(architecture, stage, name)
    if (stage, name) == ("embedding", "position"):
        value = np.pad(value, ((family(architecture).first_position, 0), (0, 0)))
    parts = np.split(value, len(names), axis=-1) if len(names) > 1 else [value]
    return {key: part.T if transposed else part for key, part in zip(names, parts, strict=True)}
