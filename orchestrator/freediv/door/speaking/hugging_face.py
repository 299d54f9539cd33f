"""What `huggingface_hub.InferenceClient` sends to a model's own address, and gets.

What it sends says less than a path does: the model's kind of answer decides what is meant.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from fastapi import APIRouter, Depends
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError

from ...model import Text
from ..door import Door
from ..forms import Labelled, Tagged
from ..refusals import Refusal
from ..served import Served
from .bodies import ERRORS, OR_IMAGE, Body, Find, text_of
from .tei import PredictRequest, Rank, RerankRequest, predicted, ranked
from .vectors import EmbedRequest, Sentences, Shaped, SimilarityRequest, embedded, similar


class Pair(Body):
    """A pair of texts, as `transformers` has it."""

    text: str
    text_pair: str


class Parameters(Body):
    """What is asked beside texts."""

    top_k: int | None = Field(default=None, ge=1, description="No more labels than that.")
    function_to_apply: Literal["softmax", "none"] | None = Field(default=None, description="What scores are.")
    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] = Field(
        default="simple", description="Word pieces are joined to spans in one way, whichever is asked for but none."
    )
    ignore_labels: list[str] = Field(default=["O"], description="Spans that are not wanted.")


Texts = str | Pair | list[str] | list[Pair] | list[list[str]]


class TaskRequest(Shaped):
    """Texts and parameters, as Hugging Face's clients send them; or what the model's own path takes."""

    inputs: Texts | Sentences | None = None
    parameters: Parameters | None = None
    raw_scores: bool = False
    query: str | None = None
    texts: list[str] | None = None
    return_text: bool = False


TaskResponse = (
    list[Labelled] | list[list[Labelled]] | list[Rank] | list[Tagged] | list[list[Tagged]]
    | list[float | None] | list[list[float] | None]
)  # fmt: skip


def routes(door: Door, find: Find, path: str) -> APIRouter:
    """A model's own `path`, for models that `find` finds in a request."""
    router = APIRouter(tags=["Hugging Face"])

    @router.post(path, response_model_exclude_unset=True, responses=ERRORS, openapi_extra=OR_IMAGE)
    async def task(body: TaskRequest, served: Served = Depends(find)) -> TaskResponse:
        """What the model is for."""
        sent = body.model_dump(exclude_unset=True)
        if body.query is not None:
            return await ranked(door, served, _as(RerankRequest, sent))
        if isinstance(body.inputs, Sentences):
            return await similar(door, served, _as(SimilarityRequest, sent))
        match door.form(served).task:
            case "feature-extraction":
                return await embedded(door, served, _as(EmbedRequest, sent))
            case "token-classification":
                return await _tagged(door, served, body)
        if body.parameters is None:
            return await predicted(door, served, _as(PredictRequest, sent))
        return await _classified(door, served, body, body.parameters)

    return router


M = TypeVar("M", bound=Body)


def _as(model: type[M], sent: dict[str, object]) -> M:
    """What was sent, as the model's own path takes it.

    Raises:
        RequestValidationError: it does not.
    """
    try:
        return model.model_validate(sent)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


async def _classified(
    door: Door, served: Served, body: TaskRequest, parameters: Parameters
) -> list[Labelled] | list[list[Labelled]]:
    """Labels of each text, a list of lists also of one; or of each image, of one without a list around it."""
    form = door.form(served, "labels")
    answers = await door.answer(served, _texts(body.inputs), truncate=body.cuts())
    raw = parameters.function_to_apply == "none"
    found = [form.labels(one, raw=raw)[: parameters.top_k] for one in answers.predictions]
    return found[0] if form.reads == "images" and isinstance(body.inputs, str) else found


async def _tagged(door: Door, served: Served, body: TaskRequest) -> list[Tagged] | list[list[Tagged]]:
    """Spans of a text, or of each of several. A text that got no answer has none."""
    form, parameters = door.form(served, "tags"), body.parameters or Parameters()
    if parameters.aggregation_strategy == "none":
        raise Refusal("Tokenizer", "`aggregation_strategy`: spans are given, not word pieces; use simple")
    answers = await door.answer(served, _texts(body.inputs), truncate=body.cuts())
    found = [
        [tag for tag in form.tags(one) or [] if tag.entity_group not in parameters.ignore_labels]
        for one in answers.predictions
    ]
    return found[0] if isinstance(body.inputs, str | Pair) else found


def _texts(inputs: Texts | Sentences | None) -> list[Text]:
    if inputs is None or isinstance(inputs, Sentences):
        raise Refusal("Validation", "inputs: Field required", status=422)
    if isinstance(inputs, str):
        return [inputs]
    if isinstance(inputs, Pair):
        return [(inputs.text, inputs.text_pair)]
    return [_text(one) for one in inputs]


def _text(one: str | Pair | list[str]) -> Text:
    if isinstance(one, Pair):
        return one.text, one.text_pair
    return one if isinstance(one, str) else text_of(one)
