"""Embeddings, whoever's client asks for them: made to length 1, and compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from ...model import Text
from ..door import Door
from ..refusals import Refusal
from ..served import Served
from .bodies import Body, Truncating


class Shaped(Truncating):
    """How a caller wants vectors."""

    normalize: bool = Field(default=True, description="Whether they have length 1.")
    dimensions: int | None = Field(default=None, ge=1, description="So many of their first numbers.")
    prompt_name: str | None = Field(default=None, description="None: a model here has no prompts.")


class EmbedRequest(Shaped):
    """Texts to embed."""

    inputs: str | list[str]


class Sentences(Body):
    """A sentence, and others to compare it with."""

    source_sentence: str
    sentences: list[str]


class SimilarityRequest(Body):
    """A sentence, and others to compare it with."""

    inputs: Sentences
    parameters: Truncating | None = None


async def embedded(door: Door, served: Served, body: EmbedRequest) -> list[list[float] | None]:
    """A vector for each text.

    Raises:
        Refusal: says why not.
    """
    texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
    found = await vectors(door, served, texts, body)
    return [None if one is None else one.tolist() for one in found]


async def similar(door: Door, served: Served, body: SimilarityRequest) -> list[float | None]:
    """The cosine of a sentence's vector and that of each other.

    Raises:
        Refusal: says why not.
    """
    if not body.inputs.sentences:
        raise Refusal("Empty", "`sentences` cannot be empty")
    shape = Shaped.model_validate((body.parameters or Truncating()).model_dump())
    first, *others = await vectors(door, served, [body.inputs.source_sentence, *body.inputs.sentences], shape)
    return [None if first is None or one is None else float(np.dot(first, one)) for one in others]


async def vectors(
    door: Door, served: Served, texts: Sequence[Text], shape: Shaped, of: str = "inputs"
) -> list[np.ndarray | None]:
    """Vectors float64 [dimensions]; None where a text got no answer.

    Raises:
        Refusal: says why not.
    """
    form = door.form(served, "vector")
    hidden = form.architecture.hidden
    if shape.prompt_name is not None:
        raise Refusal("Tokenizer", "the model has no prompts; leave `prompt_name` out")
    if shape.dimensions is not None and shape.dimensions > hidden:
        raise Refusal("Tokenizer", f"`dimensions`: the model's vectors have {hidden}")
    answers = await door.answer(served, texts, truncate=shape.cuts(), of=of)
    found = [form.vector(one) for one in answers.predictions]
    return [None if one is None else _shaped(one[: shape.dimensions], shape) for one in found]


def _shaped(vector: np.ndarray, shape: Shaped) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if shape.normalize and length > 0 else vector
