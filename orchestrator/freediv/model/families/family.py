"""What a model family says of itself: how Hugging Face configures it, and what its tensors are called.

A family is a file: one `Family` of names, with functions of its own where names are not enough. Names of tensors stand
in tables by block and parameter; `{layer}` in them is the layer's number. A parameter that is several tensors side by
side (query, key and value) has several names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..architecture import Architecture
from ..pieces.kind import TokenizerKind
from .activation_names import activation_of, name_of

Names = Mapping[str, str | tuple[str, ...]]
"""Linear map, table or norm of a block -> its tensors' names, without `.weight` or `.bias`."""
Config = Mapping[str, Any]
Tensors = Mapping[str, np.ndarray]

SEQUENCE = "ForSequenceClassification"
OWN = "freediv."
"""What the names of tensors begin with that Hugging Face's models do not know."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One `model_type`.

    Attributes:
        name: the model type.
        prefix: what the names of its classes begin with.
        root: what the names of its encoder's tensors begin with; a bare encoder's leave it out.
        embedding, attention, feed_forward, classifier: names of tensors, by block. Of the classifier, `` is its last
            linear map.
        tokenizer: what its tokenizers are like; None: it reads images.
        endings: what the names of its classes end with, where others' end otherwise: the usual one first.
        pooler: what the classifier's first map goes through.
        pooler_key: the configuration's key that says it, where one does.
        first_position: of the padding piece, rows of the position table before the one that the first piece has.
        calls: keys of the configuration that others have, too, and what it calls them.
        defaults: what keys of the configuration are that it leaves out.
        fixed: what keys of others are that its configuration does not have.
        functions: those of a layer (fields of `LayerFunctions`) that are not what other families have, by its number.
        fields: fields of `Architecture`, from the configuration's, beside those that all families have.
        keys: keys of the configuration, from the architecture, beside those that all families have.
        completed: the tensors of a checkpoint with those that a configuration, in common words, stands for.
        saved: the other way: all tensors as a checkpoint holds them.
        others: what else a tensor may be called: in old checkpoints, in encoders, and where one serves all layers.
        aside: what names of tensors begin with that only its pre-training reads.
        refuses: keys of the configuration whose values it cannot do without, and what these must be.
    """

    name: str
    prefix: str
    root: str
    tokenizer: TokenizerKind | None = None
    endings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    embedding: Names
    attention: Names
    feed_forward: Names
    classifier: Names
    classifiers: Mapping[str, Names] = field(default_factory=dict)
    pooler: str = "tanh"
    pooler_key: str | None = None
    first_position: Callable[[int], int] = lambda pad_token: 0
    calls: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    functions: Callable[[int], dict[str, str]] = lambda layer: {}
    fields: Callable[[Config], dict[str, Any]] = lambda config: {}
    keys: Callable[[Architecture], dict[str, Any]] = lambda architecture: {}
    completed: Callable[[Config, Tensors], dict[str, np.ndarray]] = lambda config, tensors: dict(tensors)
    saved: Callable[[Architecture, Tensors], dict[str, np.ndarray]] = lambda architecture, tensors: dict(tensors)
    others: Callable[[str], Iterator[str]] = lambda key: iter(())
    aside: tuple[str, ...] = ()
    refuses: Mapping[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> tuple[str, ...]:
        """What the names of tensors begin with that are no encoder's."""
        names = [name for found in self.classifier.values() for name in ([found] if isinstance(found, str) else found)]
        return tuple({f"{name.split('.')[0]}.": None for name in names if not name.startswith(f"{self.root}.")})

    @property
    def reads_images(self) -> bool:
        """Whether its models read images; else texts."""
        return self.tokenizer is None

    def classes_of(self, ending: str) -> tuple[str, ...]:
        """The classes that most families call so, after the prefix; the usual one first."""
        return tuple(self.prefix + own for own in self.endings.get(ending, (ending,)))

    def headed(self, ending: str) -> Family:
        """The family with the classifier of the class that is called so, after the prefix."""
        if ending == SEQUENCE:
            return self
        found = self.classifiers.get(ending, {"": "classifier"})
        return replace(self, classifier=found, pooler=self.pooler if "pooler" in found else "none")

    def pooler_of(self, config: Config) -> str:
        """What the classifier's first map goes through, in a model of this configuration.

        Raises:
            ValueError: an activation that is not known.
        """
        if self.pooler == "none" or self.pooler_key is None:
            return self.pooler
        return activation_of(config.get(self.pooler_key, name_of(self.pooler)), self.pooler_key)

    def names_of(self, stage: str, name: str) -> tuple[tuple[str, ...], bool]:
        """The Hugging Face names that make up one parameter, and whether they are stored transposed."""
        *_, layer, kind = ("", *stage.split("."))
        table: Names = {
            "embedding": self.embedding,
            "attention": self.attention,
            "feed_forward": self.feed_forward,
            "classifier": self.classifier,
        }[kind]
        is_table = kind == "embedding" and name in table
        if is_table:
            part, last = name, "weight"
        else:
            part, _, last = name.rpartition(".")
        if part not in table or last not in ("weight", "bias"):
            return (f"{OWN}{stage}.{name}",), False
        found = table[part]
        parts = (found,) if isinstance(found, str) else found
        transposed = last == "weight" and part != "norm" and (part == "projection" or not is_table)
        return tuple(f"{one.format(layer=layer)}.{last}" for one in parts), transposed

    def layer(self, number: int) -> str:
        """What the names of a layer's own tensors begin with."""
        (first, *_), _ = self.names_of(f"layer.{number}.attention", "qkv.weight")
        before, found, _ = first.partition(f".{number}.")
        return before + found

    def in_common_words(self, config: Config) -> dict[str, Any]:
        """A configuration with what it leaves out, and its keys as most families call them."""
        own = {other: config[name] for other, name in self.calls.items() if name in config}
        return {**self.defaults, **config, **own, **self.fixed}

    def in_own_words(self, config: Config) -> dict[str, Any]:
        """A configuration with its keys as the family calls them."""
        return {self.calls.get(key, key): value for key, value in config.items() if key not in self.fixed}

    def tensors_of(self, architecture: Architecture, stage: str, name: str, value: np.ndarray) -> dict[str, np.ndarray]:
        """A parameter as the tensors that a checkpoint holds, by their names."""
        names, transposed = self.names_of(stage, name)
        if (stage, name) == ("embedding", "position"):
            value = np.pad(value, ((self.first_position(architecture.pad_token), 0), (0, 0)))
        parts = np.split(value, len(names), axis=-1) if len(names) > 1 else [value]
        return {key: part.T if transposed else part for key, part in zip(names, parts, strict=True)}

    def parameter_of(
        self, architecture: Architecture, stage: str, name: str, fetch: Callable[[str], np.ndarray]
    ) -> np.ndarray:
        """A parameter from a checkpoint, whose tensors `fetch` hands out by their names."""
        names, transposed = self.names_of(stage, name)
        parts = [fetch(key).T if transposed else fetch(key) for key in names]
        value = np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        if (stage, name) == ("embedding", "position"):
            return value[self.first_position(architecture.pad_token) :]
        # A tokenizer that tells no second text from the first uses one token type, whatever others there are.
        one_type = self.tokenizer is not None and not self.tokenizer.segments
        return value[:1] if (stage, name) == ("embedding", "token_type") and one_type else value


def embedding_names(root: str) -> dict[str, str]:
    """BERT's names of an embedding's tensors, under a root."""
    names = {"word": "word_embeddings", "position": "position_embeddings", "token_type": "token_type_embeddings"}
    return {part: f"{root}.embeddings.{name}" for part, name in (names | {"norm": "LayerNorm"}).items()}


def attention_names(root: str) -> dict[str, str | tuple[str, ...]]:
    """BERT's names of an attention block's tensors, under a root."""
    block = f"{root}.encoder.layer.{{layer}}.attention"
    return {
        "qkv": tuple(f"{block}.self.{part}" for part in ("query", "key", "value")),
        "output": f"{block}.output.dense",
        "norm": f"{block}.output.LayerNorm",
    }


def feed_forward_names(root: str) -> dict[str, str]:
    """BERT's names of a feed-forward block's tensors, under a root."""
    layer = f"{root}.encoder.layer.{{layer}}"
    return {
        "intermediate": f"{layer}.intermediate.dense",
        "output": f"{layer}.output.dense",
        "norm": f"{layer}.output.LayerNorm",
    }


def renamed(*pairs: tuple[str, str]) -> Callable[[str], Iterator[str]]:
    """Other names of a tensor: those in which a part is another."""

    def others(key: str) -> Iterator[str]:
        return (key.replace(new, other) for new, other in pairs if new in key)

    return others


GAMMA_AND_BETA = ((".LayerNorm.weight", ".LayerNorm.gamma"), (".LayerNorm.bias", ".LayerNorm.beta"))
"""What old checkpoints call a norm's weight and bias."""
