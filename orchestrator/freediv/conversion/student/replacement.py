"""A student before any training: the teacher's weights under other functions, with a smaller embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from ...errors import UserError
from ...model import Model, convert_functions
from ...model.answers import answer_of
from ..texts.vocabulary import cut_vocabulary
from .recipe import EmbeddingRecipe, Recipe


@dataclass(frozen=True)
class Student:
    """A student, its tokenizer, and `kept` [student's vocabulary]: the teacher's id of each of its word pieces."""

    model: Model
    tokenizer: Tokenizer
    kept: np.ndarray


def make_student(
    teacher: Model,
    tokenizer: Tokenizer,
    sequences: list[np.ndarray],
    recipe: Recipe,
    published: np.ndarray | None = None,
) -> Student:
    """Replace functions, and cut the embedding or put the `published` table [vocabulary, width] in its place.

    `sequences` are the training texts in the teacher's word pieces. What is cut depends on them and a published table
    does not, which is why it stays whole: whoever reads the student's tokenizer learns nothing of the texts.

    Raises:
        UserError: the recipe asks for more than the teacher has.
    """
    architecture = teacher.architecture
    unknown = [layer for layer in recipe.layers if not 0 <= layer < architecture.layers]
    if unknown:
        last = architecture.layers - 1
        raise UserError(f"recipe {recipe.name}, layers.{unknown[0]}: the teacher's layers are 0 to {last}")
    positions = recipe.positions or architecture.positions
    if positions > architecture.positions:
        raise UserError(f"recipe {recipe.name}, positions: {positions}, but the teacher has {architecture.positions}")
    smaller = recipe.embedding if published is None else EmbeddingRecipe()
    if smaller.vocabulary and answer_of(architecture).each_piece:
        raise UserError(
            f"recipe {recipe.name}, embedding.vocabulary: the teacher labels word pieces, and a smaller vocabulary has "
            "others; leave it out, or give the --published table"
        )
    cut = cut_vocabulary(tokenizer, sequences, smaller.vocabulary or architecture.vocabulary, architecture.vocabulary)
    embedding = dict(teacher.parameters["embedding"])
    embedding["word"] = (embedding["word"] if published is None else published)[cut.kept]
    if "position" in embedding:
        embedding["position"] = embedding["position"][:positions]
    rank = smaller.rank or architecture.embedding_size
    if rank < architecture.embedding_size:
        counts = np.bincount(np.concatenate(sequences), minlength=architecture.vocabulary)[cut.kept]
        embedding["word"], projection = factorise(embedding["word"], rank, np.sqrt(counts + 1.0))
        embedding["projection"] = projection @ embedding["projection"] if "projection" in embedding else projection
    elif rank > architecture.embedding_size:
        width = architecture.embedding_size
        raise UserError(f"recipe {recipe.name}, embedding.rank: {rank}, but the teacher's table is {width} wide")

    def new_id(old: int) -> int:
        return int(np.searchsorted(cut.kept, old))

    classifier = dict(teacher.parameters["classifier"])
    if recipe.pooler != "none" and "pooler.weight" not in classifier:
        raise UserError(f"recipe {recipe.name}, pooler: the teacher has none; set it to none")
    if recipe.pooler not in (usable := dict.fromkeys((architecture.pooler, "identity", "none"))):
        raise UserError(f"recipe {recipe.name}, pooler: {recipe.pooler!r}; with this teacher, {' or '.join(usable)}")
    model = convert_functions(
        replace(teacher, parameters={**teacher.parameters, "embedding": embedding, "classifier": classifier}),
        vocabulary=len(cut.kept),
        embedding_size=rank,
        positions=positions,
        pad_token=new_id(architecture.pad_token),
        separator_token=None if architecture.separator_token is None else new_id(architecture.separator_token),
        embedding="secret" if published is None else "public",
        embedding_norm=recipe.embedding_norm_of(architecture),
        pooler=recipe.pooler,
        pooler_norm=architecture.pooler_norm if recipe.pooler == architecture.pooler else "none",
        functions=recipe.functions_of(architecture),
    )
    return Student(model, cut.tokenizer, cut.kept)


def factorise(table: np.ndarray, rank: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best product [n, rank] x [rank, width] for a table [n, width] whose rows are weighted by `weights` [n].

    Minimises the sum over rows of weight times squared error (Eckart and Young 1936, rows scaled by sqrt(weight)).
    """
    scaled = np.sqrt(weights)[:, None] * table.astype(np.float64)
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    basis = vectors[:, ::-1][:, :rank]
    return (table @ basis).astype(np.float32), basis.T.astype(np.float32)
