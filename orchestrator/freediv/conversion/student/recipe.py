"""A conversion recipe: which functions replace which, and how the student learns them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from ...model import Architecture, LayerFunctions, LayerSizes, Precision, Weights
from ...model.functions.pooling import Pool
from ...yaml_file import Strict, read_yaml


class PoolRecipe(Strict):
    """Rows that become fewer after a layer."""

    rows: int = Field(ge=2, le=64, description="neighbours that become their mean")
    first_apart: bool = Field(default=True, description="the first row, of the text as a whole, stays as it is")


class SizesRecipe(Strict):
    """How thin a layer is; what is left out is as the teacher has it."""

    heads: int | None = Field(default=None, ge=1, description="those that contribute most are kept")
    intermediate: int | None = Field(
        default=None, ge=1, description="width of the feed-forward block; neurons that contribute most are kept"
    )
    pool: PoolRecipe | None = Field(default=None, description="after the layer")


class LayerChoice(SizesRecipe):
    """Functions and sizes of one layer where they differ from those of all layers."""

    attention: str | None = None
    activation: str | None = None
    attention_norm: str | None = None
    feed_forward_norm: str | None = None

    @property
    def functions(self) -> dict[str, str]:
        """Those that it names."""
        return self.model_dump(include=set(LayerFunctions.model_fields), exclude_none=True)


class EmbeddingRecipe(Strict):
    """The word table of the student where it is secret; a published one stays whole."""

    vocabulary: int | None = Field(
        default=None, ge=64, description="pieces kept: special ones, characters, and those the training data uses most"
    )
    rank: int | None = Field(default=None, ge=1, description="width of the factorised table; none: the model's own")


class DataRecipe(Strict):
    """What the student sees."""

    rows: int | None = Field(default=None, ge=8, description="at most so many training rows, drawn at random")
    whole_rows: bool = Field(default=False, description="of them those alone that are part of no other")
    hold_out: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        description="share of the rows kept aside for measuring, with the rows that are parts of them",
    )
    long_share: float = Field(
        default=0.15, ge=0, le=0.9, description="share of tokens from rows strung together, up to the longest length"
    )
    longest: int = Field(default=128, ge=8, description="longest sequence trained on, in word pieces")
    tokens_per_batch: int = Field(default=1024, ge=8)
    shapes: int = Field(default=6, ge=1, description="distinct lengths to pad to; each compiles once")


class StageRecipe(Strict):
    """One stage of distillation; AdamW with linear warm-up and decay."""

    epochs: int = Field(default=1, ge=0)
    pieces: int | None = Field(
        default=None,
        ge=8,
        description="word pieces of each epoch (of images, their rows), of other texts each time, and again where "
        "these are few; none: all",
    )
    patience: int = Field(
        default=0,
        ge=0,
        description="epochs no better on rows held out that end the stage, whose best is kept; 0: all, and the last",
    )
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(default=60, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    accumulate: int = Field(default=1, ge=1, description="batches whose mean gradient makes one step")
    noise: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="share of word pieces replaced by others, which the teacher reads as well",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_rows(cls, given: Any) -> Any:
        if isinstance(given, dict) and "rows" in given:
            raise ValueError(
                "an epoch is so many word pieces, not rows; write `pieces` in place of `rows`: these times the pieces "
                "of a usual one, such as 320000"
            )
        return given


_Stage = TypeVar("_Stage", bound=StageRecipe)


class RefitRecipe(Strict):
    """Blocks fitted one after another to what the teacher's leave, once constants are calibrated: their last maps by
    least squares, and then all of each by training it alone.
    """

    pieces: int = Field(default=64_000, ge=64, description="word pieces of the texts that last maps are fitted on")
    ridge: float = Field(
        default=1e-3, gt=0, description="what holds them to the teacher's, beside their inputs' square"
    )
    trained: int = Field(
        default=0, ge=0, description="word pieces of the texts that each block is then trained on alone; 0: none is"
    )
    epochs: int = Field(default=1, ge=1, description="times that it sees them: they are kept in memory")
    learning_rate: float = Field(default=1e-3, gt=0, description="of that training, at its peak")

    def scaled(self, longer: float, rate: float) -> RefitRecipe:
        """Blocks trained `longer` times as long, at a learning rate that is so many times this one; on as many pieces,
        as they have to be kept.
        """
        changes = {"epochs": max(1, round(self.epochs * longer)), "learning_rate": self.learning_rate * rate}
        return self.model_copy(update=changes)


class ProgressiveRecipe(StageRecipe):
    """Layers replaced one after another, each step a training as in stage 1; `epochs` are those of one step."""

    order: Literal["up", "down"] = Field(default="up", description="up: from the first layer; down: from the last")
    layers_at_once: int = Field(default=1, ge=1)


class NormsRecipe(StageRecipe):
    """How norms lose their roots: slowly, and with a penalty on what would make them explode."""

    anneal: float = Field(default=0.7, gt=0, le=1, description="share of the steps in which the root fades out")
    penalty: float = Field(default=0.2, ge=0, description="weight of the mean square of ln(variance g^2), to the end")
    patience: Literal[0] = Field(default=0, description="none: what is minimised changes as roots fade out")


class ConstantsRecipe(Strict):
    """Factors on the learning rate of the functions' constants; 0: they stay as calibration set them."""

    k: float = Field(default=10.0, ge=0, description="of freeDiv attention, per head, in log space")
    c: float = Field(default=1.0, ge=0, description="of (s + c)^2, per head")
    quadratic: float = Field(
        default=0.1, ge=0, description="a, b and c of a x^2 + b x + c, per layer; a stays positive"
    )
    g: float = Field(default=1.0, ge=0, description="of norms without a root, in log space")


class Recipe(Strict):
    """A whole recipe. Everything has a default but the functions."""

    name: str
    functions: LayerFunctions
    sizes: SizesRecipe = Field(default=SizesRecipe(), description="of all layers")
    layers: dict[int, LayerChoice] = Field(
        default_factory=dict, description="exceptions, by the number that a layer has in the teacher, from 0"
    )
    leave_out: tuple[int, ...] = Field(default=(), description="layers of the teacher that the student does not have")
    blocks: tuple[int, ...] = Field(
        default=(),
        description="layers that are trained, by their numbers in the teacher, with the classifier; what others have "
        "in place of the teacher's stays as calibration set it; none: all are, and the embedding",
    )
    embedding_norm: str = "layernorm"
    pooler: str = Field(default="none", description="the teacher's, as tanh; identity: without it; none: no pooler")
    embedding: EmbeddingRecipe = EmbeddingRecipe()
    row_limits: bool = Field(
        default=True,
        description="where a norm has a constant for its root: a text with a row beyond its limit gets no answer",
    )
    positions: int | None = Field(default=None, ge=8, description="positions kept; none: the teacher's")
    data: DataRecipe = DataRecipe()
    calibration_rows: int = Field(default=2048, ge=8)
    fit_activation: bool = Field(default=True, description="start quadratics from a least-squares fit")
    refit: RefitRecipe | None = Field(default=None, description="before any training; none: maps are the teacher's")
    constants: ConstantsRecipe = ConstantsRecipe()
    progressive: ProgressiveRecipe | None = Field(default=None, description="before stage 1; none: all layers at once")
    hidden: StageRecipe = Field(
        default=StageRecipe(epochs=2, learning_rate=3e-4), description="stage 1: the teacher's hidden states"
    )
    norms: NormsRecipe = Field(
        default=NormsRecipe(epochs=3, learning_rate=2e-4), description="after stage 1, where a norm has no root"
    )
    logits: StageRecipe = Field(default=StageRecipe(epochs=1, learning_rate=5e-5), description="stage 2: its logits")
    precision: Precision = Field(
        default="float32",
        description="of the operands of products in training; bfloat16 for devices that have units for it",
    )
    weights: Weights = Field(
        default="float16", description="of the file; int8: matrices in whole numbers with a scale for each row"
    )
    seed: int = Field(default=0, ge=0)

    def functions_of(self, teacher: Architecture) -> tuple[LayerFunctions, ...]:
        """The functions of each layer of the student; where the teacher has no norm, none."""
        chosen = []
        for layer in self.layers_of(teacher):
            own = teacher.functions[layer]
            changes = self.layers.get(layer, LayerChoice()).functions
            norms = ("attention_norm", "feed_forward_norm")
            missing = {name: "none" for name in norms if getattr(own, name) == "none"}
            chosen.append(LayerFunctions(**{**self.functions.model_dump(), **changes, **missing}))
        return tuple(chosen)

    def all_functions(self) -> tuple[LayerFunctions, ...]:
        """What layers have by this recipe, whatever the teacher; each once."""
        own = self.functions.model_dump()
        others = [choice.functions for choice in self.layers.values()]
        return tuple(dict.fromkeys(LayerFunctions(**{**own, **changes}) for changes in ({}, *others)))

    def layers_of(self, teacher: Architecture) -> tuple[int, ...]:
        """The teacher's layers that the student has."""
        return tuple(layer for layer in range(teacher.layers) if layer not in self.leave_out)

    def sizes_of(self, teacher: Architecture) -> tuple[LayerSizes, ...]:
        """How thin each layer of the student is; nothing where none is thinner than the teacher says."""
        found = []
        for layer in self.layers_of(teacher):
            own, chosen = teacher.size_of(layer), self.layers.get(layer, LayerChoice())
            pool = chosen.pool or self.sizes.pool
            found.append(
                LayerSizes(
                    heads=chosen.heads or self.sizes.heads or own.heads,
                    intermediate=chosen.intermediate or self.sizes.intermediate or own.intermediate,
                    pool=own.pool if pool is None else Pool(**pool.model_dump()),
                )
            )
        return tuple(found) if any(one != LayerSizes() for one in found) else ()

    def patient(self) -> bool:
        """Whether rows held out may end one of its stages."""
        stages = (self.progressive, self.hidden, self.logits)
        return any(stage.patience > 0 for stage in stages if stage is not None)

    def thinness(self) -> str:
        """What its student has less of than a teacher, whichever that is; empty if nothing."""
        found = []
        if self.leave_out:
            found.append(f"without layer{'s' * (len(self.leave_out) > 1)} {', '.join(map(str, self.leave_out))}")
        places = {"all layers": self.sizes} | {f"layer {number}": own for number, own in self.layers.items()}
        for where, own in places.items():
            heads = f"{own.heads} heads" if own.heads else ""
            narrower = f"{own.intermediate} in the feed-forward block" if own.intermediate else ""
            pool = f"each {own.pool.rows} neighbouring rows become one after it" if own.pool else ""
            if said := ", ".join(filter(None, (heads, narrower, pool))):
                found.append(f"{where}: {said}")
        return "; ".join(found)

    def embedding_norm_of(self, teacher: Architecture) -> str:
        """The norm of the student's embedding; where the teacher has none, none."""
        return "none" if teacher.embedding_norm == "none" else self.embedding_norm

    def scaled(self, longer: float, tokens_per_batch: int | None) -> Recipe:
        """The recipe for another device: all stages `longer` times as long, in batches of another size (None: its own),
        whose learning rates go with the square root of that size (Malladi et al. 2022, for Adam).
        """
        size = tokens_per_batch or self.data.tokens_per_batch
        rate = (size / self.data.tokens_per_batch) ** 0.5

        def stage(own: _Stage) -> _Stage:
            epochs = max(1, round(own.epochs * longer)) if own.epochs else 0
            return own.model_copy(update={"epochs": epochs, "learning_rate": own.learning_rate * rate})

        changes: dict[str, object] = {
            "data": self.data.model_copy(update={"tokens_per_batch": size}),
            "refit": None if self.refit is None else self.refit.scaled(longer, rate),
            "progressive": None if self.progressive is None else stage(self.progressive),
            "hidden": stage(self.hidden),
            "norms": stage(self.norms),
            "logits": stage(self.logits),
        }
        return self.model_copy(update=changes)

    def without_pieces(self) -> Recipe:
        """The recipe for images: nothing of it that is of word pieces, such as how many, and noise."""

        def stage(own: _Stage) -> _Stage:
            return own.model_copy(update={"noise": 0.0})

        changes: dict[str, object] = {
            "positions": None,
            "data": self.data.model_copy(update={"long_share": 0.0}),
            "progressive": None if self.progressive is None else stage(self.progressive),
            "hidden": stage(self.hidden),
            "norms": stage(self.norms),
            "logits": stage(self.logits),
        }
        return self.model_copy(update=changes)

    def bounded(self, teacher: Architecture) -> bool:
        """Whether every norm of the student bounds what follows it, or limits tell where one does not."""
        changes = {
            "functions": self.functions_of(teacher), "embedding_norm": self.embedding_norm_of(teacher),
            "row_limits": self.row_limits,
        }  # fmt: skip
        return teacher.model_copy(update=changes).bounded


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        UserError: no such file, not YAML, an unknown key or function, with its path in the file.
    """
    return read_yaml(path, Recipe)
