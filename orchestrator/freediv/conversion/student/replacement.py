"""A student before any training: the teacher's weights under other functions, with a smaller embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from ...errors import UserError
from ...model import Architecture, Model, Reader, convert_functions
from ...model.answers import answer_of
from ...model.reading.texts import TextReader
from ..texts.vocabulary import cut_vocabulary
from ..training.losses import taught_states
from .narrowing import in_layers, narrowed
from .recipe import EmbeddingRecipe, Recipe


@dataclass(frozen=True)
class Student:
    """A student, what reads for it, `kept` [student's vocabulary]: the teacher's id of each of its word pieces, or None
    where both read images; and the teacher's number of each of its layers.
    """

    model: Model
    reader: Reader
    kept: np.ndarray | None
    layers: tuple[int, ...]

    def as_teachers(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The student's inputs as the teacher reads them."""
        return dict(inputs) if self.kept is None else {**inputs, "token_ids": self.kept[inputs["token_ids"]]}


def make_student(
    teacher: Model,
    reader: Reader,
    sequences: list[np.ndarray],
    recipe: Recipe,
    published: np.ndarray | None = None,
) -> Student:
    """Replace functions, and cut the embedding or put the `published` table [vocabulary, width] in its place.

    `sequences` are the training texts in the teacher's word pieces. What is cut depends on them and a published table
    does not, which is why it stays whole: whoever reads the student's tokenizer learns nothing of the texts. Of images
    there is no such table, and the embedding is the teacher's.

    Raises:
        UserError: the recipe asks for more than the teacher has.
    """
    architecture = teacher.architecture
    layers = _layers(recipe, architecture)
    positions = recipe.positions or architecture.positions
    if positions > architecture.positions:
        raise UserError(f"recipe {recipe.name}, positions: {positions}, but the teacher has {architecture.positions}")
    smaller = recipe.embedding if published is None else EmbeddingRecipe()
    if smaller.vocabulary and answer_of(architecture).each_piece:
        raise UserError(
            f"recipe {recipe.name}, embedding.vocabulary: the teacher labels word pieces, and a smaller vocabulary has "
            "others; leave it out, or give the --published table"
        )
    words: dict[str, object] = {}
    kept: np.ndarray | None = None
    embedding = dict(teacher.parameters["embedding"])
    if isinstance(reader, TextReader):
        table = _Table(teacher, reader, sequences, smaller, recipe.name, published)
        embedding, words, kept, reader = table.embedding, table.fields, table.kept, TextReader(table.tokenizer)
        if "position" in embedding:
            embedding["position"] = embedding["position"][:positions]
    classifier = dict(teacher.parameters["classifier"])
    if recipe.pooler != "none" and "pooler.weight" not in classifier:
        raise UserError(f"recipe {recipe.name}, pooler: the teacher has none; set it to none")
    if recipe.pooler not in (usable := dict.fromkeys((architecture.pooler, "identity", "none"))):
        raise UserError(f"recipe {recipe.name}, pooler: {recipe.pooler!r}; with this teacher, {' or '.join(usable)}")
    changes: dict[str, Any] = {
        **words,
        "layers": len(layers),
        "sizes": recipe.sizes_of(architecture),
        "functions": recipe.functions_of(architecture),
        "positions": positions,
        "embedding_norm": recipe.embedding_norm_of(architecture),
        "pooler": recipe.pooler,
        "pooler_norm": architecture.pooler_norm if recipe.pooler == architecture.pooler else "none",
    }
    chosen = _drawn(sequences, recipe)
    own = in_layers(narrowed(teacher, chosen, dict(zip(layers, changes["sizes"], strict=False))), layers)
    start = replace(teacher, parameters={**own, "embedding": embedding, "classifier": classifier})
    try:
        model = convert_functions(start, **changes)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"recipe {recipe.name}: {said}") from None
    _require_aligned(recipe, model.architecture, architecture, layers)
    return Student(model, reader, kept, layers)


def _layers(recipe: Recipe, teacher: Architecture) -> tuple[int, ...]:
    """The teacher's layers that the student has.

    Raises:
        UserError: it names some that the teacher does not have, or asks for more of one than there is.
    """
    places = (("layers.", recipe.layers), ("leave_out, layer ", recipe.leave_out), ("blocks, layer ", recipe.blocks))
    for where, named in places:
        for layer in named:
            if not 0 <= layer < teacher.layers:
                last = teacher.layers - 1
                raise UserError(f"recipe {recipe.name}, {where}{layer}: the teacher's layers are 0 to {last}")
    layers = recipe.layers_of(teacher)
    if not layers and teacher.layers:
        raise UserError(f"recipe {recipe.name}, leave_out: no layer would be left; keep one at least")
    if gone := sorted({*recipe.blocks} & {*recipe.leave_out}):
        raise UserError(f"recipe {recipe.name}, blocks: layer {gone[0]} is left out, and cannot be trained")
    if recipe.leave_out and teacher.window is not None:
        raise UserError(
            f"recipe {recipe.name}, leave_out: which of the teacher's layers see near places alone goes by their "
            "numbers; keep all layers"
        )
    for layer, own in zip(layers, recipe.sizes_of(teacher), strict=False):
        for name, most in (("heads", teacher.heads_of(layer)), ("intermediate", teacher.intermediate_of(layer))):
            if (wanted := getattr(own, name) or most) > most:
                raise UserError(f"recipe {recipe.name}, layer {layer}, {name}: {wanted}, but the teacher has {most}")
    return layers


def _drawn(sequences: list[np.ndarray], recipe: Recipe) -> list[np.ndarray]:
    """The texts that calibration sees."""
    rows = np.random.default_rng(recipe.seed).permutation(len(sequences))[: recipe.calibration_rows]
    return [sequences[row] for row in rows]


def _require_aligned(recipe: Recipe, student: Architecture, teacher: Architecture, layers: tuple[int, ...]) -> None:
    """Where the teacher's rows are pooled themselves, the student's have to be pooled so, too, and may be further."""
    for number, state in enumerate(taught_states(layers, teacher)):
        own, given = student.pools_before(number), teacher.pools_before(state)
        if own[: len(given)] != given:
            raise UserError(
                f"recipe {recipe.name}: the teacher's rows are pooled before its layer {state}, and the student's are "
                "not pooled so; pool as the teacher does, or convert from one that does not"
            )


class _Table:
    """A student's word table, and what depends on it: its tokenizer, and fields of `Architecture`."""

    def __init__(
        self,
        teacher: Model,
        reader: TextReader,
        sequences: list[np.ndarray],
        smaller: EmbeddingRecipe,
        recipe: str,
        published: np.ndarray | None,
    ) -> None:
        a = teacher.architecture
        cut = cut_vocabulary(reader.tokenizer, sequences, smaller.vocabulary or a.vocabulary, a.vocabulary)
        self.tokenizer, self.kept = cut.tokenizer, cut.kept
        self.embedding = dict(teacher.parameters["embedding"])
        own = self.embedding["word"] = (self.embedding["word"] if published is None else published)[cut.kept]
        rank = smaller.rank or a.embedding_size
        if rank < a.embedding_size:
            counts = np.bincount(np.concatenate(sequences), minlength=a.vocabulary)[cut.kept]
            self.embedding["word"], projection = factorise(own, rank, np.sqrt(counts + 1.0))
            before = self.embedding.get("projection")
            self.embedding["projection"] = projection if before is None else projection @ before
        elif rank > a.embedding_size:
            raise UserError(
                f"recipe {recipe}, embedding.rank: {rank}, but the teacher's table is {a.embedding_size} wide"
            )
        self.fields: dict[str, object] = {
            "vocabulary": len(cut.kept),
            "embedding_size": rank,
            "pad_token": self._new_id(a.pad_token),
            "separator_token": None if a.separator_token is None else self._new_id(a.separator_token),
            "embedding": "secret" if published is None else "public",
        }

    def _new_id(self, old: int) -> int:
        return int(np.searchsorted(self.kept, old))


def factorise(table: np.ndarray, rank: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best product [n, rank] x [rank, width] for a table [n, width] whose rows are weighted by `weights` [n].

    Minimises the sum over rows of weight times squared error (Eckart and Young 1936, rows scaled by sqrt(weight)).
    """
    scaled = np.sqrt(weights)[:, None] * table.astype(np.float64)
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    basis = vectors[:, ::-1][:, :rank]
    return (table @ basis).astype(np.float32), basis.T.astype(np.float32)
