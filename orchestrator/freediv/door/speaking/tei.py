"""What clients of text-embeddings-inference send, and get: the same paths, fields, shapes and limits."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from ...errors import UserError
from ...model import Text
from ...model.answers import Output
from ..door import Door
from ..forms import ImageSize, Labelled, Reads
from ..refusals import refusal
from ..served import Served
from .bodies import ERRORS, OR_IMAGE, READING_ERRORS, Find, Truncating, text_of
from .vectors import EmbedRequest, SimilarityRequest, embedded, similar

One = Annotated[list[str], Field(min_length=1, max_length=2)]
"""A text, or a pair of texts, among several."""


class PredictRequest(Truncating):
    """Texts to classify."""

    inputs: str | One | Annotated[list[One], Field(min_length=1)] = Field(
        description="A text; a pair of texts, [text, text]; or several: [[text], [text, text], ...]",
        examples=["a warm and funny film"],
    )
    raw_scores: bool = Field(default=False, description="Logits in place of what adds up to 1.")


PredictResponse = list[Labelled] | list[list[Labelled]]


class RerankRequest(Truncating):
    """Texts to be put in the order in which they answer a query."""

    query: str
    texts: list[str]
    raw_scores: bool = Field(default=False, description="Logits in place of probabilities.")
    return_text: bool = Field(default=False, description="Whether texts are sent back.")


class Rank(BaseModel):
    """A text's place; its score is null where the model could be wrong, and so gave none. Such come last."""

    index: int = Field(description="among the texts that were sent")
    score: float | None
    text: str | None = None


class Info(BaseModel):
    """The model that is served, and how much may be asked at a time."""

    model_id: str
    model_sha: str | None = Field(description="SHA-256 of all that is public about the model")
    model_dtype: str = Field(description="the ring that it is computed in")
    model_type: Mapping[str, Mapping[str, object]]
    max_concurrent_requests: int
    max_input_length: int = Field(description="word pieces, or rows of an image")
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool = False
    tokenization_workers: int = 1
    version: str
    sha: str | None = None
    docker_label: str | None = None
    output: Output = Field(description="what the deployment reveals")
    pairs: bool = Field(description="whether it reads pairs of texts")
    reads: Reads
    image_size: ImageSize | None = Field(description="that images are brought to; null where it reads texts")


def routes(door: Door, find: Find) -> APIRouter:
    """The paths, for models that `find` finds in a request."""
    router = APIRouter(tags=["text-embeddings-inference"])

    @router.get("/info", responses=READING_ERRORS)
    async def info(served: Served = Depends(find)) -> Info:
        """What is served."""
        form, model = door.form(served), served.model()
        config = served.able()[0].config
        longest = config.buckets_of(model.architecture)[-1]
        return Info(
            model_id=served.name,
            model_sha=model.digest,
            model_dtype=config.field,
            model_type=form.model_type(),
            max_concurrent_requests=door.limits.max_concurrent_requests,
            max_input_length=longest,
            max_batch_tokens=longest * config.max_batch,
            max_batch_requests=config.max_batch,
            max_client_batch_size=door.limits.max_client_batch_size,
            version=version("freediv"),
            output=config.output,
            pairs=model.architecture.pairs,
            reads=form.reads,
            image_size=ImageSize.of(model.architecture),
        )

    @router.get("/health", response_class=Response, responses=READING_ERRORS)
    @router.get("/ping", response_class=Response, responses=READING_ERRORS)
    async def health(served: Served = Depends(find)) -> Response:
        """Whether the model can be asked."""
        try:
            served.model()
        except UserError as error:
            raise refusal(error) from None
        return Response()

    @router.post("/predict", responses=ERRORS, openapi_extra=OR_IMAGE)
    async def predict(body: PredictRequest, served: Served = Depends(find)) -> PredictResponse:
        """Labels of a text, of a pair of texts, or of several; or of an image, or several."""
        return await predicted(door, served, body)

    @router.post("/rerank", response_model_exclude_unset=True, responses=ERRORS)
    async def rerank(body: RerankRequest, served: Served = Depends(find)) -> list[Rank]:
        """Texts in the order in which they answer a query."""
        return await ranked(door, served, body)

    @router.post("/embed", responses=ERRORS)
    async def embed(body: EmbedRequest, served: Served = Depends(find)) -> list[list[float] | None]:
        """A vector for each text; null where the model could be wrong, and so gave none."""
        return await embedded(door, served, body)

    @router.post("/similarity", responses=ERRORS)
    async def similarity(body: SimilarityRequest, served: Served = Depends(find)) -> list[float | None]:
        """The cosine of a sentence's vector and those of others."""
        return await similar(door, served, body)

    return router


async def predicted(door: Door, served: Served, body: PredictRequest) -> PredictResponse:
    """What `/predict` answers.

    Raises:
        Refusal: says why not.
    """
    form = door.form(served, "labels")
    texts, alone = _texts(body.inputs)
    answers = await door.answer(served, texts, truncate=body.cuts())
    found = [form.labels(one, raw=body.raw_scores) for one in answers.predictions]
    return found[0] if alone else found


def _texts(inputs: str | list[str] | list[list[str]]) -> tuple[list[Text], bool]:
    """The texts, and whether it is one alone."""
    if isinstance(inputs, str):
        return [inputs], True
    several = [text_of(one) for one in inputs if not isinstance(one, str)]
    return (several, False) if several else ([text_of([one for one in inputs if isinstance(one, str)])], True)


async def ranked(door: Door, served: Served, body: RerankRequest) -> list[Rank]:
    """What `/rerank` answers.

    Raises:
        Refusal: says why not.
    """
    form = door.form(served, "score")
    pairs: list[Text] = [(body.query, text) for text in body.texts]
    answers = await door.answer(served, pairs, truncate=body.cuts(), of="texts")
    found = answers.predictions
    ranks = []
    for row in sorted(range(len(found)), key=lambda row: form.place(found[row])):
        said = {"index": row, "score": form.score(found[row], raw=body.raw_scores)}
        ranks.append(Rank.model_validate(said | ({"text": body.texts[row]} if body.return_text else {})))
    return ranks
