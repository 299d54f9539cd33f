"""`/v1/embeddings`, as OpenAI's clients send it."""

from __future__ import annotations

import asyncio
import base64
from typing import Literal

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from ..door import Door
from ..refusals import OpenAIErrorResponse
from ..served import Served
from .bodies import ERRORS, Body, Find
from .vectors import Shaped, vectors


class EmbeddingsRequest(Body):
    """Texts to embed."""

    input: str | list[str]
    model: str | None = Field(default=None, description="By name, where several are served.")
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] = "float"
    user: str | None = Field(default=None, description="Is not looked at.")


class Embedding(BaseModel):
    """A text's vector: numbers, or their bytes (float32, the least significant first) in base64."""

    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str | None = Field(description="null where the model could be wrong, and so gave none")
    index: int


class Usage(BaseModel):
    """Word pieces."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


_ERRORS = {status: found | {"model": OpenAIErrorResponse} for status, found in ERRORS.items()}


def routes(door: Door, find: Find) -> APIRouter:
    """The paths, for models that `find` finds in a request, unless its body names one."""
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/embeddings", responses=_ERRORS)
    @router.post("/embeddings", responses=_ERRORS)
    async def embeddings(body: EmbeddingsRequest, served: Served = Depends(find)) -> EmbeddingsResponse:
        """A vector for each text."""
        served = door.models.by_name.get(body.model or "", served)
        texts = [body.input] if isinstance(body.input, str) else body.input
        found = await vectors(door, served, texts, Shaped(dimensions=body.dimensions), of="input")
        pieces = await asyncio.to_thread(served.count_pieces, texts)
        return EmbeddingsResponse(
            data=[Embedding(embedding=_encoded(one, body), index=index) for index, one in enumerate(found)],
            model=served.name,
            usage=Usage(prompt_tokens=pieces, total_tokens=pieces),
        )

    return router


def _encoded(vector: np.ndarray | None, body: EmbeddingsRequest) -> list[float] | str | None:
    if vector is None:
        return None
    if body.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return vector.tolist()
