"""The public description of a classifier: its sizes, and the functions chosen for each layer.

Nothing here is secret. A party compiles its programs from an `Architecture` alone.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .activation import ACTIVATIONS
from .attention import ATTENTIONS
from .normalisation import NORMALISATIONS

BUCKETS = (16, 32, 64, 128, 256, 512)
"""Lengths, in word pieces, that a sentence may be padded to."""


def _registered(kind: str, name: str, registry: object) -> None:
    names = sorted(registry)  # type: ignore[call-overload]
    if name not in names:
        raise ValueError(f"there is no {kind} {name!r}; known: {', '.join(names)}")


class LayerFunctions(BaseModel):
    """The functions of one encoder layer, by their names in the registries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attention: str = "softmax"
    activation: str = "gelu"
    attention_norm: str = "layernorm"
    feed_forward_norm: str = "layernorm"

    @model_validator(mode="after")
    def _known(self) -> LayerFunctions:
        _registered("attention", self.attention, ATTENTIONS)
        _registered("activation", self.activation, ACTIVATIONS)
        _registered("normalisation", self.attention_norm, NORMALISATIONS)
        _registered("normalisation", self.feed_forward_norm, NORMALISATIONS)
        return self


class Architecture(BaseModel):
    """Sizes and functions of a BERT-family sequence classifier.

    Limits keep a hostile description from taking memory before anything has been checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: int = Field(ge=1, le=1 << 20)
    embedding_size: int = Field(ge=1, le=1 << 14, description="width of the word table; if not `hidden`, projected")
    hidden: int = Field(ge=1, le=1 << 14)
    layers: int = Field(ge=0, le=128)
    heads: int = Field(ge=1, le=256)
    intermediate: int = Field(ge=1, le=1 << 16)
    positions: int = Field(ge=1, le=1 << 14)
    token_types: int = Field(default=2, ge=0, le=16, description="0: the model has none")
    relative_buckets: int = Field(
        default=0,
        ge=0,
        le=1024,
        multiple_of=4,
        description="of a bias of the scores by distance, as MPNet has; 0: none",
    )
    norm_epsilon: float = Field(default=1e-12, ge=0, le=1)
    label_names: tuple[str, ...] = Field(min_length=2, max_length=1024)
    pad_token: int = Field(default=0, ge=0)
    separator_token: int | None = Field(
        default=None,
        ge=0,
        description="the piece that ends the first text of a pair; none: the model reads single texts",
    )
    embedding: Literal["secret", "public"] = Field(
        default="secret", description="public: the word table is published and the data owner looks it up"
    )
    embedding_norm: str = "layernorm"
    pooler: Literal["tanh", "identity", "none"] = "tanh"
    functions: tuple[LayerFunctions, ...]
    row_limits: bool = Field(
        default=False, description="rows that no norm bounds have limits, and an answer tells whether all kept theirs"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Architecture:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        if len(self.functions) != self.layers:
            raise ValueError(f"functions are given for {len(self.functions)} layers, the model has {self.layers}")
        for name in ("pad_token", "separator_token"):
            if (getattr(self, name) or 0) >= self.vocabulary:
                raise ValueError(f"{name} {getattr(self, name)} is outside the vocabulary of {self.vocabulary}")
        _registered("normalisation", self.embedding_norm, NORMALISATIONS)
        if self.row_limits and not any(self.limited):
            raise ValueError("row_limits: no norm has a constant for its root, so there is nothing to limit")
        return self

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def labels(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    @property
    def bounded(self) -> bool:
        """Whether every norm bounds what follows it, or an answer tells where one does not; else values may leave the
        ring unseen on text that nobody has tried.
        """
        unbounded = [not NORMALISATIONS[name].bounds for name in self.norms]
        return unbounded == list(self.limited)

    @property
    def norms(self) -> tuple[str, ...]:
        """The normalisation after each stage but the classifier."""
        return (self.embedding_norm, *(n for f in self.functions for n in (f.attention_norm, f.feed_forward_norm)))

    @property
    def limited(self) -> tuple[bool, ...]:
        """Whether rows have a limit, after each stage but the classifier: where a norm has a constant for its root."""
        return tuple(self.row_limits and bool(NORMALISATIONS[name].constants) for name in self.norms)

    @property
    def pairs(self) -> bool:
        """Whether it reads two texts at a time."""
        return self.separator_token is not None

    @property
    def reads_segments(self) -> bool:
        """Whether it must be told which pieces are of a second text: those have a token type of their own."""
        return self.pairs and self.token_types > 1

    @property
    def buckets(self) -> tuple[int, ...]:
        """Lengths that sentences are padded to, shortest first."""
        return tuple(b for b in BUCKETS if b <= self.positions) or (self.positions,)
