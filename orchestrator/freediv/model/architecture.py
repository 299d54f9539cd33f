"""The public description of a model: its sizes, what it answers, and the functions chosen for each layer.

Nothing here is secret. A party compiles its programs from an `Architecture` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .answers import ANSWERS
from .functions.activation import ACTIVATIONS, ActivationFunction
from .functions.attention import ATTENTIONS
from .functions.disentangled import Disentangled
from .functions.norms import NORMALISATIONS
from .functions.patches import Patches
from .functions.pooling import Pool
from .functions.rotary import Rotary
from .functions.window import Window

BUCKETS = (16, 32, 64, 128, 256, 512)
"""Lengths, in word pieces, that a sentence may be padded to."""
POOLERS: dict[str, ActivationFunction | None] = {
    **{name: one for name, one in ACTIVATIONS.items() if not one.constants},
    "identity": ACTIVATIONS["none"],
    "none": None,
}
"""What the classifier's first map goes through; `none`: there is no such map."""
_LONGEST_NAME = 200
_LARGEST_THRESHOLD = 1024


def usable_buckets(buckets: Sequence[int], positions: int) -> tuple[int, ...]:
    """Those that a model with so many positions can use; where others are too long for it, its own length is one."""
    usable = tuple(bucket for bucket in buckets if bucket <= positions)
    return usable if positions in usable or len(usable) == len(buckets) else (*usable, positions)


def bucket_for(buckets: Sequence[int], pieces: int) -> int:
    """The shortest bucket, of those that grow, that holds a sentence of so many word pieces.

    Raises:
        ValueError: the sentence is longer than the longest bucket.
    """
    for bucket in buckets:
        if pieces <= bucket:
            return bucket
    raise ValueError(f"{pieces} word pieces; at most {buckets[-1]} are served")


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


class LayerSizes(BaseModel):
    """Where one encoder layer is thinner than the model's sizes say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heads: int | None = Field(default=None, ge=1, description="of attention, as wide as the model's; none: all")
    intermediate: int | None = Field(
        default=None, ge=1, description="width of the feed-forward block; none: the model's"
    )
    pool: Pool | None = Field(default=None, description="how rows become fewer after it; none: they do not")
    keep: float | None = Field(
        default=None, gt=0, lt=1, description="share of patches left by its attention, in plaintext; none: all"
    )


class Architecture(BaseModel):
    """Sizes and functions of a BERT-family encoder, and what it answers.

    Limits keep a hostile description from taking memory before anything has been checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = Field(default="bert", max_length=32, description="whose tensors and configuration it has")
    patches: Patches | None = Field(default=None, description="the images that it reads; none: it reads texts")
    vocabulary: int = Field(ge=0, le=1 << 20, description="word pieces; 0: it reads images")
    embedding_size: int = Field(
        ge=1, le=1 << 14, description="width of the word table; if not `hidden`, projected; numbers of a patch"
    )
    hidden: int = Field(ge=1, le=1 << 14)
    layers: int = Field(ge=0, le=128)
    heads: int = Field(ge=1, le=256)
    intermediate: int = Field(ge=1, le=1 << 16)
    positions: int = Field(ge=1, le=1 << 14)
    absolute_positions: bool = Field(default=True, description="a row of a table for each place joins the word's")
    token_types: int = Field(default=2, ge=0, le=16, description="0: the model has none")
    relative_buckets: int = Field(
        default=0,
        ge=0,
        le=1024,
        multiple_of=4,
        description="of a bias of the scores by distance, as MPNet has; 0: none",
    )
    disentangled: Disentangled | None = Field(
        default=None, description="keys and queries of distances beside those of pieces, as DeBERTa has them"
    )
    rotary: Rotary | None = Field(default=None, description="positions as angles of queries and keys")
    window: Window | None = Field(default=None, description="layers that see near places alone")
    gated: bool = Field(default=False, description="a second map multiplies what leaves the activation (GLU)")
    without_bias: tuple[Literal["attention", "feed_forward", "norm", "classifier"], ...] = Field(
        default=(),
        max_length=4,
        description="blocks whose linear maps have no bias (of the classifier, all but the last), and norms",
    )
    norm_epsilon: float = Field(default=1e-12, ge=0, le=1)
    answer: str = Field(default="label", max_length=32, description="what it answers, as `answers` names it")
    label_names: tuple[str, ...] = Field(
        max_length=1024, description="distinct, printable, of at most 200 characters: owners see them"
    )
    pooling: Literal["first", "mean", "tokens"] = Field(
        default="first",
        description="what stands for a text: its first row, or the mean of all that are real (of an image: patches), "
        "or of an image all rows before the patches, side by side",
    )
    thresholds: tuple[float, ...] = Field(
        default=(), max_length=1024, description="of each logit, above which it counts as yes; none: 0"
    )
    normalised: bool = Field(default=False, description="a vector is divided by its length, by whoever reads it")
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
    embedding_width: int | None = Field(
        default=None,
        ge=1,
        le=1 << 14,
        description="of the rows that the embedding's norm takes, which a linear map then makes as wide as hidden, as "
        "ELECTRA and ALBERT have it; none: they are as wide as hidden, and no map follows",
    )
    norm_first: bool = Field(
        default=False,
        description="blocks normalise what they read (pre-norm), and nothing what they add to; else what they leave",
    )
    final_norm: str = Field(default="none", description="of what the classifier reads; only with norm_first")
    pooler: str = Field(default="tanh", description="what the classifier's first map goes through; none: there is none")
    pooler_norm: str = Field(default="none", description="of what leaves the pooler")
    functions: tuple[LayerFunctions, ...]
    sizes: tuple[LayerSizes, ...] = Field(
        default=(), max_length=128, description="of each layer; none: no layer is thinner than another"
    )
    row_limits: bool = Field(
        default=False, description="rows that no norm bounds have limits, and an answer tells whether all kept theirs"
    )

    @model_validator(mode="before")
    @classmethod
    def _family_of_before(cls, given: Any) -> Any:
        """Architectures that name no family are of before they did: one with a bias by distance is an MPNet."""
        if isinstance(given, dict) and "family" not in given and given.get("relative_buckets"):
            return {"family": "mpnet"} | given
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Architecture:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        if len(self.functions) != self.layers:
            raise ValueError(f"functions are given for {len(self.functions)} layers, the model has {self.layers}")
        self._what_it_reads()
        self._sizes_fit()
        if len(set(self.label_names)) < len(self.label_names):
            raise ValueError("label_names: two are the same")
        for number, name in enumerate(self.label_names):
            if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
                raise ValueError(f"label_names: number {number} is empty, not printable, or too long")
        _registered("answer", self.answer, ANSWERS)
        ANSWERS[self.answer].check(self)
        if self.thresholds and len(self.thresholds) != self.labels:
            raise ValueError(f"thresholds: {len(self.thresholds)} of them for {self.labels} logits; give all, or none")
        if not all(abs(one) < _LARGEST_THRESHOLD for one in self.thresholds):
            raise ValueError(f"thresholds: they are logits, of less than {_LARGEST_THRESHOLD} either way")
        _registered("normalisation", self.embedding_norm, NORMALISATIONS)
        _registered("pooler", self.pooler, POOLERS)
        _registered("normalisation", self.final_norm, NORMALISATIONS)
        if self.embedding_width is not None and (self.norm_first or NORMALISATIONS[self.embedding_norm].constants):
            why = "norm_first" if self.norm_first else f"an embedding_norm as {self.embedding_norm}"
            raise ValueError(f"embedding_width: no linear map follows the embedding's norm with {why}")
        self._norms_stand_where_blocks_take_them()
        if self.rotary is not None and self.head_size % 2:
            raise ValueError(f"rotary: turns pairs of numbers, and heads are {self.head_size} wide")
        if self.row_limits and not any(self.limited):
            raise ValueError("row_limits: no norm has a constant for its root, so there is nothing to limit")
        return self

    def _what_it_reads(self) -> None:
        """Texts have a vocabulary; images none, nor anything that is of pieces."""
        if self.pooling == "tokens" and (self.patches is None or self.pooler != "none" or not self.labels):
            raise ValueError("pooling: of rows before patches are logits of an image, without a pooler")
        if (patches := self.patches) is None:
            for name in ("pad_token", "separator_token"):
                if (getattr(self, name) or 0) >= self.vocabulary:
                    raise ValueError(f"{name} {getattr(self, name)} is outside the vocabulary of {self.vocabulary}")
            return
        wanted = {
            "vocabulary": 0, "embedding_size": patches.row_size, "positions": patches.rows, "embedding": "secret",
            "token_types": 0, "relative_buckets": 0, "separator_token": None, "embedding_width": None,
            "disentangled": None, "rotary": None, "window": None, "row_limits": False, "absolute_positions": True,
        }  # fmt: skip
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name}: {getattr(self, name)}; with patches it is {value}")
        if self.answer in ANSWERS and ANSWERS[self.answer].each_piece:
            raise ValueError(f"answer: a model that reads images gives none of {self.answer!r}")

    def _sizes_fit(self) -> None:
        if len(self.sizes) not in (0, self.layers):
            raise ValueError(f"sizes are given for {len(self.sizes)} layers, the model has {self.layers}")
        for layer in range(self.layers):
            for name, own in (("heads", self.heads_of(layer)), ("intermediate", self.intermediate_of(layer))):
                if own > getattr(self, name):
                    raise ValueError(f"sizes.{layer}.{name}: {own}, and the model has {getattr(self, name)}")
        if any(own.keep is not None for own in self.sizes) and self.patches is None:
            raise ValueError("sizes: tokens are dropped by a class token's attention, which is for images")
        if not self.pools:
            return
        if self.answer in ANSWERS and ANSWERS[self.answer].each_piece:
            raise ValueError("sizes: rows are pooled, and a model that labels word pieces needs a row for each of them")
        if self.patches is not None:
            raise ValueError("sizes: rows are pooled, which is for texts; neighbours in an image are not next in a row")
        if self.window is not None:
            raise ValueError("sizes: rows are pooled, and layers that see near places alone do not know of it yet")

    def _norms_stand_where_blocks_take_them(self) -> None:
        if self.pooler_norm not in (("none",) if self.pooler in ("identity", "none") else ("layernorm", "none")):
            raise ValueError(f"pooler_norm: {self.pooler_norm!r} after a pooler that is {self.pooler!r}")
        if self.row_limits and self.window is not None:
            raise ValueError("row_limits: rows that only near places see (window) have no limits yet")
        if not self.norm_first:
            if self.final_norm != "none":
                raise ValueError("final_norm: only models whose blocks normalise what they read (norm_first) have one")
            return
        if not self.layers:
            raise ValueError("norm_first: the model has no layers whose norms could come first")
        if self.row_limits:
            raise ValueError("row_limits: rows that blocks only add to (norm_first) have no limits yet")
        if NORMALISATIONS[self.final_norm].constants:
            raise ValueError(f"final_norm: {self.final_norm} has a constant for its root; take layernorm or none")
        first, *others = (NORMALISATIONS[name].centres for name in (*self.norms[1:], self.final_norm))
        if len({*others, first or others[0]}) > 1:
            raise ValueError(
                "norm_first: all norms take the mean out of their rows, or none does; the first layer's before "
                "attention alone may be none"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    def size_of(self, layer: int) -> LayerSizes:
        """Where a layer is thinner than the model's sizes say."""
        return self.sizes[layer] if self.sizes else LayerSizes()

    def heads_of(self, layer: int) -> int:
        """Attention heads of a layer."""
        return self.size_of(layer).heads or self.heads

    def intermediate_of(self, layer: int) -> int:
        """Width of a layer's feed-forward block."""
        return self.size_of(layer).intermediate or self.intermediate

    @property
    def pools(self) -> tuple[Pool, ...]:
        """How rows become fewer, in the order of layers."""
        return self.pools_before(self.layers)

    def pools_before(self, layer: int) -> tuple[Pool, ...]:
        """How the rows that a layer reads became fewer."""
        return tuple(own.pool for own in self.sizes[:layer] if own.pool is not None)

    @property
    def answers_from(self) -> int | None:
        """How many rows, from the first, the classifier reads of those that the last layer leaves; None: all."""
        pooled = self.layers and self.size_of(self.layers - 1).pool is not None
        if self.pooling == "mean" or ANSWERS[self.answer].each_piece or pooled:
            return None
        return self.patches.tokens if self.pooling == "tokens" and self.patches is not None else 1

    @property
    def summed_width(self) -> int:
        """Width of the rows that the embedding adds up."""
        return self.embedding_width or self.hidden

    @property
    def labels(self) -> int:
        """Number of labels: of logits, of a text or of each piece."""
        return len(self.label_names)

    @property
    def above(self) -> tuple[float, ...]:
        """What each logit has to exceed to count as yes."""
        return self.thresholds or (0.0,) * self.labels

    @property
    def bounded(self) -> bool:
        """Whether every norm bounds what follows it, or an answer tells where one does not; else values may leave the
        ring unseen on text that nobody has tried.

        Where blocks normalise what they read, each adds at most what a bounded row makes of it; the first may read the
        embedding's rows as they are if those are bounded.
        """
        bounds = [NORMALISATIONS[name].bounds for name in self.norms]
        if self.norm_first:
            embedding, first, *others = bounds
            return all((embedding or first, *others, NORMALISATIONS[self.final_norm].bounds))
        return [not bound for bound in bounds] == list(self.limited)

    @property
    def norms(self) -> tuple[str, ...]:
        """The normalisation of each stage but the classifier."""
        return (self.embedding_norm, *(n for f in self.functions for n in (f.attention_norm, f.feed_forward_norm)))

    @property
    def centred_stream(self) -> bool:
        """Whether blocks that normalise what they read add up rows without a mean: folding has then taken it out of all
        that is added, once for every norm that would.
        """
        return self.norm_first and NORMALISATIONS[self.functions[0].feed_forward_norm].centres

    @property
    def centred_embedding(self) -> bool:
        """Whether the embedding's rows are summed up without a mean, for the norm that takes them."""
        taken = (self.embedding_norm, *([self.functions[0].attention_norm] if self.norm_first else []))
        return any(NORMALISATIONS[name].centres for name in taken)

    @property
    def limited(self) -> tuple[bool, ...]:
        """Whether rows have a limit, after each stage but the classifier: where a norm has a constant for its root.

        Where blocks normalise what they read there is none yet.
        """
        limits = self.row_limits and not self.norm_first
        return tuple(limits and bool(NORMALISATIONS[name].constants) for name in self.norms)

    @property
    def compares(self) -> bool:
        """Whether a run compares, and an answer tells if all was well: rows with limits, or pixels with ranges."""
        return self.row_limits or (self.patches is not None and bool(self.patches.ranges))

    @property
    def padded(self) -> bool:
        """Whether what it reads has lengths of its own, which padding and a secret mask hide; images have none."""
        return self.patches is None

    def cut_at(self, longest: int) -> int:
        """How long the longest is that it reads, where texts are cut at so many pieces."""
        return min(longest, self.positions) if self.padded else self.positions

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
        return self.usable(BUCKETS)

    def usable(self, buckets: Sequence[int]) -> tuple[int, ...]:
        """Those of some buckets that it can use, by `usable_buckets`; of images there is one, their number of rows."""
        return usable_buckets(buckets, self.positions) if self.padded else (self.positions,)
